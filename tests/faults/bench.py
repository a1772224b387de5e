"""Creates the jobs of a long run of faults, and prints the results."""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support import containers
from support.containers import ContainerJob

MOST_RUNS_OF_SLOW_FAULTS = 30


class Bench:
    """Creates jobs and prints results."""

    def __init__(self, runs: int, seed: int, folder: Path) -> None:
        self.runs = runs
        self.slow_runs = min(runs, MOST_RUNS_OF_SLOW_FAULTS)
        self.chance = random.Random(seed)
        self.folder = folder
        self.is_kept = True
        self.model = folder / "tiny-model"
        self.model.mkdir()
        containers.write_tiny_model(self.model)

    def job(self, hyperparameters: Mapping[str, str], host_count: int = 1) -> ContainerJob:
        """A job that would succeed, in a new folder: a restarted job keeps nothing but its checkpoints."""
        return containers.ready_job(self.new_folder("job"), self.model, hyperparameters, host_count)

    def new_folder(self, name: str) -> Path:
        """A new folder below that of the run."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def report(self, promise: str, figures: str, complaints: list[str]) -> None:
        print(f"{'broken' if complaints else 'kept':6}  {promise}: {figures}", flush=True)
        for complaint in complaints:
            print(f"        {complaint}", flush=True)
        self.is_kept &= not complaints


def spread(values: list[float]) -> str:
    """Median, 99th percentile and maximum as text."""
    ordered = sorted(values)
    return (
        f"median {statistics.median(ordered):.2f} s, p99 {ordered[int(0.99 * (len(ordered) - 1) + 0.5)]:.2f} s, "
        f"largest {ordered[-1]:.2f} s"
    )


@contextlib.contextmanager
def bench_of(runs: int, seed: int) -> Iterator[Bench]:
    containers.remove_leftovers()
    try:
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            yield Bench(runs, seed, Path(folder))
    finally:
        containers.remove_leftovers()
