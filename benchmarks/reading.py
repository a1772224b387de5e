"""Reads, validates and tokenizes synthetic Amazon reviews: rows per second, peak memory, and linearity.

    make bench-reading ROWS=3100000

Needs the image's libraries and the tokenizer of the demo's model. Each size runs in a separate process; imports and
writing the file are not timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

#: Number of rows of the reference for the time per row.
FEW_ROWS = 30_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=300_000)
    options.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure)))
        return
    seconds_per_row, cpu_per_row = [], []
    for rows in (FEW_ROWS, chosen.rows):
        found = _measure_in_process(rows)
        seconds_per_row.append(found["seconds"] / rows)
        cpu_per_row.append(found["cpu"] / rows)
        print(
            f"{rows:>9,} rows ({found['megabytes']:,.0f} MB .tsv.gz): {rows / found['seconds']:,.0f} rows/s "
            f"({found['reading']:.1f} s reading, {found['seconds'] - found['reading']:.1f} s tokenizing, "
            f"{found['cpu']:.1f} s of CPU), peak {found['peak_gb']:.2f} GB resident, "
            f"mean {found['tokens']:.0f} tokens kept",
            flush=True,
        )
    print(
        f"time per row relative to {FEW_ROWS:,} rows: {seconds_per_row[1] / seconds_per_row[0]:.2f}; "
        f"CPU time, which other processes affect less: {cpu_per_row[1] / cpu_per_row[0]:.2f}"
    )


def _measure_in_process(rows: int) -> dict[str, float]:
    from support import amazon_reviews

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.tsv.gz"
        amazon_reviews.write(path, rows)
        done = subprocess.run(
            [sys.executable, __file__, "--measure", str(path)], stdout=subprocess.PIPE, text=True, check=True
        )
        found: dict[str, float] = json.loads(done.stdout)
        return found | {"megabytes": path.stat().st_size / 1e6}


def measure(path: Path) -> dict[str, float]:
    """Seconds, CPU-seconds and peak memory of this process, from the file to the token ids of all splits."""
    from transformers import AutoTokenizer

    from text_classifier.contract.hyperparameters import Settings
    from text_classifier.dataset.load import read_data
    from text_classifier.tokenization.tokens import tokenize

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "build" / "demo" / "model")
    started, cpu_before = time.monotonic(), time.process_time()
    data = read_data({"train": path}, Settings())
    reading = time.monotonic() - started
    tokens = [tokenize(tokenizer, rows.texts, Settings().max_sequence_length) for rows in data.splits.values()]
    return {
        "seconds": time.monotonic() - started,
        "reading": reading,
        "cpu": time.process_time() - cpu_before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "tokens": sum(len(of.ids) for of in tokens) / sum(len(of) for of in tokens),
    }


if __name__ == "__main__":
    main()
