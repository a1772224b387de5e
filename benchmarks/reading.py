"""Reads, validates and tokenizes made-up Amazon reviews: rows a second, peak memory, and whether time is linear.

    make bench-reading ROWS=3100000

Needs the image's libraries and the demo's model, of which only the tokenizer is used. Each size runs in a process of
its own; imports and the writing of the file are not timed.
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

#: The size that the time for a row is compared with.
FEW_ROWS = 30_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=300_000)
    options.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure)))
        return
    seconds_of_row, cpu_of_row = [], []
    for rows in (FEW_ROWS, chosen.rows):
        found = _in_a_process(rows)
        seconds_of_row.append(found["seconds"] / rows)
        cpu_of_row.append(found["cpu"] / rows)
        print(
            f"{rows:>9,} rows ({found['megabytes']:,.0f} MB .tsv.gz): {rows / found['seconds']:,.0f} rows/s "
            f"({found['reading']:.1f} s reading, {found['seconds'] - found['reading']:.1f} s tokenizing, "
            f"{found['cpu']:.1f} s of CPU), peak {found['peak_gb']:.2f} GB resident, "
            f"mean {found['tokens']:.0f} tokens kept",
            flush=True,
        )
    print(
        f"a row against one of {FEW_ROWS:,}: {seconds_of_row[1] / seconds_of_row[0]:.2f} times the time, "
        f"{cpu_of_row[1] / cpu_of_row[0]:.2f} times the CPU time (which other processes disturb less)"
    )


def _in_a_process(rows: int) -> dict[str, float]:
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
    """Seconds, CPU seconds and peak memory of this process, from the file to the mapped token ids of all splits."""
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
