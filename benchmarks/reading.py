"""Prepares made-up Amazon reviews of 15 columns, as code/prepare.py does: rows per second, CPU-seconds and memory, on
one CPU and on two, of this code and of another commit's side by side; linearity; and how much two CPUs of this machine
can gain, which share memory and caches: two processes of one CPU each, which know nothing of one another.

    make bench-reading ROWS=3100000 AGAINST=../main/code

Needs the image's libraries and the tokenizer of the demo's model. Each measurement runs in a separate process, from the
file to the published rows and token ids; imports and writing the file are not timed. They take turns, ROUNDS times, and
of each the run with the median time counts: other load on the machine comes and goes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence, Set
from operator import itemgetter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ROOT / "code"
MODEL = ROOT / "build" / "demo" / "model"
sys.path.append(str(ROOT / "tests"))

#: Number of rows of the reference for the time per row.
FEW_ROWS = 30_000

ROUNDS = 3

#: Two processes at once, each with half of the rows on a CPU of its own.
HALVES = "halves"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=300_000)
    options.add_argument("--against", type=Path, help="the folder code/ of another commit")
    options.add_argument("--measure", nargs="+", metavar="WORD", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        code, base, *cpus = chosen.measure
        print(json.dumps(measure(Path(code), Path(base), set(map(int, cpus)))))
        return
    print(f"{_processor()}, {len(os.sched_getaffinity(0))} CPUs; plain .tsv")
    codes = {"this code": CODE} | ({"against": chosen.against.resolve()} if chosen.against else {})
    pair = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as bytecode:  # the image has it, next to a read-only code/ it cannot be written
        os.environ["PYTHONPYCACHEPREFIX"] = bytecode
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        few = _medians(codes, FEW_ROWS, pair, (1, 2))
        many = _medians(codes, chosen.rows, pair, (1, 2, HALVES))
    for name in codes:
        one, two, halves = (many[name, way]["seconds"] for way in (1, 2, HALVES))
        growth = many[name, 1]["cpu"] / chosen.rows / (few[name, 1]["cpu"] / FEW_ROWS)
        print(
            f"{name}: two CPUs are {one / two:.2f} times as fast as one, and two processes, each with half of the rows "
            f"on a CPU of its own, {one / halves:.2f} times; CPU time a row relative to {FEW_ROWS:,} rows: {growth:.2f}"
        )


def _medians(
    codes: Mapping[str, Path], rows: int, pair: Sequence[int], ways: Sequence[int | str]
) -> dict[tuple[str, int | str], dict[str, float]]:
    """The run with the median time of each code in each way: on so many CPUs, or HALVES. Prints those on CPUs."""
    runs: dict[tuple[str, int | str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as half:
        _write(Path(folder), rows)
        _write(Path(half), rows // 2)
        for _ in range(ROUNDS):
            for (name, code), way in itertools.product(codes.items(), ways):
                if isinstance(way, int):
                    started = [_started(code, Path(folder), pair[:way])]
                else:
                    started = [_started(code, Path(half), [cpu]) for cpu in pair]
                found = [_ended(process) for process in started]
                runs.setdefault((name, way), []).append(max(found, key=itemgetter("seconds")))
    medians = {key: sorted(found, key=itemgetter("seconds"))[ROUNDS // 2] for key, found in runs.items()}
    for (name, way), median in medians.items():
        if isinstance(way, int):
            print(_line(name, way, rows, median), flush=True)
    return medians


def _line(name: str, cpus: int, rows: int, found: dict[str, float]) -> str:
    return (
        f"{rows:>9,} rows, {cpus} CPU{'s' if cpus > 1 else ' '}, {name:9}: {rows / found['seconds']:>7,.0f} rows/s "
        f"({found['reading']:.1f} s reading, {found['seconds'] - found['reading']:.1f} s tokenizing), "
        f"{rows / found['cpu']:>7,.0f} rows a CPU-second ({found['reading_cpu']:.2f} and "
        f"{found['cpu'] - found['reading_cpu']:.2f} s of CPU), peak {found['peak_gb']:.2f} GB resident, mean "
        f"{found['tokens']:.0f} tokens kept"
    )


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else "unknown processor"


def _write(base: Path, rows: int) -> None:
    """The channels of a job in SageMaker's layout."""
    from support import amazon_reviews

    channels = base / "input" / "data"
    (channels / "train").mkdir(parents=True)
    (channels / "model").symlink_to(MODEL)
    amazon_reviews.write(channels / "train" / "reviews.tsv", rows)


def _started(code: Path, base: Path, cpus: Sequence[int]) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--measure", str(code), str(base), *map(str, cpus)]
    environment = {**os.environ, "PYTHONPATH": str(code), "RANK": "1"}  # the first host prints and writes a report
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _ended(process: subprocess.Popen[str]) -> dict[str, float]:
    output, _ = process.communicate()
    assert not process.returncode, "a measurement has failed, as said above"
    found: dict[str, float] = json.loads(output)
    return found


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(code: Path, base: Path, cpus: Set[int]) -> dict[str, float]:
    """Seconds and CPU-seconds of the job's preparation, and the peak memory of this process."""
    sys.path.insert(0, str(code))
    os.sched_setaffinity(0, cpus)
    from transformers import AutoTokenizer

    from text_classifier.contract.hyperparameters import Settings
    from text_classifier.preparation.rows import prepare_rows
    from text_classifier.preparation.tokens import map_tokens, prepare_tokens
    from text_classifier.runtime.folders import JobFolders

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started, cpu_before = time.monotonic(), _cpu_seconds()
        prepare_rows(JobFolders(base), Settings(), folder)
        reading, reading_cpu = time.monotonic() - started, _cpu_seconds() - cpu_before
        prepare_tokens(Settings(), tokenizer, folder)
        seconds, cpu = time.monotonic() - started, _cpu_seconds() - cpu_before
        tokens = map_tokens(folder).tokens.values()
        return {
            "seconds": seconds,
            "reading": reading,
            "cpu": cpu,
            "reading_cpu": reading_cpu,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "tokens": sum(len(of.ids) for of in tokens) / sum(len(of) for of in tokens),
        }


if __name__ == "__main__":
    main()
