"""Measures the size of the image and its time to the first training step: `make bench-image`."""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks import corpus  # noqa: E402
from support import containers  # noqa: E402

STARTS = 5

#: Rows to read and tokenize before the first step.
ROWS = 4_000
MODEL = ROOT / "build" / "demo" / "model"
IMDB = ROOT / "build" / "bench" / "imdb.csv"
HYPERPARAMETERS = {"max_sequence_length": "128", "train_batch_size": "32", "label_map": "0=negative;1=positive"}

#: Moments, and the prefix of the first log line of each.
MOMENTS = {
    "first line of the log": "",
    "data read": "split ",
    "tokenized, model loaded": "rows: ",
    "first step": "step 1 of ",
}


def layers() -> list[tuple[float, str]]:
    """Megabytes and instruction of each non-empty layer, the base first."""
    command = ["docker", "history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}"]
    lines = subprocess.run([*command, containers.IMAGE], capture_output=True, text=True, check=True).stdout.splitlines()
    sizes = [(int(size) / 1e6, by) for size, by in (line.split("\t", 1) for line in reversed(lines))]
    return [(size, by.removeprefix("/bin/bash -Eeuxo pipefail -c ").strip()) for size, by in sizes if size >= 0.05]


def reviews() -> str:
    """The rows as a CSV file."""
    rows = corpus.imdb(IMDB).sample(ROWS, seed=0)
    file = io.StringIO()
    csv.writer(file).writerows([("text", "label"), *zip(rows.texts, rows.classes, strict=True)])
    return file.getvalue()


def start(folder: Path, table: str) -> dict[str, float]:
    """Seconds from the start of the container to each moment, by the engine's time stamps."""
    job = containers.ContainerJob(folder, HYPERPARAMETERS)
    job.channel("train", "reviews.csv", table)
    (folder / "channels" / "model").mkdir()  # mount point of the model
    with containers.running(job, environment={}, mounts={"input/data/model": MODEL}):  # with all cores
        job.wait_for("step 1 of ")
        container = job.containers["algo-1"]
        container.reload()
        begin = containers.time_of(container.attrs["State"]["StartedAt"])
        lines = [line.split(" ", 1) for line in container.logs(timestamps=True).decode().splitlines()]
    times = {}
    for moment, text in MOMENTS.items():
        first = next(stamp for stamp, line in lines if line.startswith(text))
        times[moment] = (containers.time_of(first) - begin).total_seconds()
    return times


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for size, instruction in layers():
        print(f"{size:8.1f} MB  {instruction[:90] or 'the base image'}")
    table = reviews()
    with tempfile.TemporaryDirectory() as scratch:
        starts = [start(Path(scratch) / str(number), table) for number in range(STARTS)]
    for moment in MOMENTS:
        times = [times[moment] for times in starts]
        print(f"{moment}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}; {STARTS} starts)")


if __name__ == "__main__":
    main()
