"""The long form of the container tests: each promise many times over, one line of figures each.

    python tests/faults/run.py --runs 200

200 runs of the stop signal, and at most 30 of each other fault, which take minutes each. Needs the built image.
Exits with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import containers
from containers import (
    BREAKS,
    ENDLESS,
    QUICK,
    WHOLE_LIFE,
    ContainerJob,
    Stop,
    changed_module,
    running,
    stop_after,
    time_of,
)

MOST_RUNS_OF_SLOW_FAULTS = 30
PEER_LIMIT = 75.0
MISTAKE_LIMIT = 10.0
OVERHEAD_LIMIT = 1.0

MISTAKES = (
    {"epocs": "3"},
    {"learning_rate": "-1"},
    {"api_token": "x"},
    {"text_columns": "body"},
    {"label_map": "1=a;2=b"},
)
ERRORS = ("torch.OutOfMemoryError('2 GiB')", "OSError(28, 'No space left on device')", "KeyError('x')")

FIRST_LINE = "print('first line of the script', flush=True)\n"


class Bench:
    """Makes jobs, and prints what came of them."""

    def __init__(self, runs: int, seed: int, folder: Path) -> None:
        self.runs = runs
        self.slow_runs = min(runs, MOST_RUNS_OF_SLOW_FAULTS)
        self.chance = random.Random(seed)
        self.folder = folder
        self.is_kept = True
        self._jobs = 0
        self._model = folder / "tiny-model"
        self._model.mkdir()
        containers.write_tiny_model(self._model)

    def job(self, hyperparameters: Mapping[str, str], host_count: int = 1) -> ContainerJob:
        self._jobs += 1
        base = self.folder / f"job-{self._jobs}"
        base.mkdir()
        return containers.ready_job(base, self._model, hyperparameters, host_count)

    def report(self, promise: str, figures: str, complaints: list[str]) -> None:
        print(f"{'broken' if complaints else 'kept':6}  {promise}: {figures}", flush=True)
        for complaint in complaints:
            print(f"        {complaint}", flush=True)
        self.is_kept &= not complaints


def stop_signals(bench: Bench) -> None:
    """Half of the signals in the first 3 seconds, half over the whole life; every third job on two hosts."""
    life = {}
    for host_count in (1, 2):
        with running(bench.job(WHOLE_LIFE, host_count)) as job:
            job.wait()
            life[host_count] = job.life_seconds()
    stops = []
    for number in range(bench.runs):
        host_count = 2 if number % 3 == 2 else 1
        delay = bench.chance.uniform(0, 3.0 if number % 2 else life[host_count])
        stops.append(stop_after(bench.job(WHOLE_LIFE, host_count), delay))
    states = ", ".join(f"{state} {count}" for state, count in sorted(Counter(stop.state for stop in stops).items()))
    bench.report(
        f"SIGTERM to exit, p99 at most {Stop.LIMIT:g} s, exit code 0",
        f"{bench.runs} runs, {spread([stop.seconds for stop in stops])}; {states}",
        [f"after {stop.delay:.3f} s: {stop.complaint}" for stop in stops if stop.complaint],
    )


def lost_hosts(bench: Bench) -> None:
    """Kill or pause one of two hosts, with the timeout that users have."""
    seconds: dict[str, list[float]] = {"kill": [], "pause": []}
    complaints = []
    for number in range(bench.slow_runs):
        fault = ("kill", "pause")[number % 2]
        lost, left = bench.chance.sample(["algo-1", "algo-2"], 2)
        with running(bench.job(ENDLESS, 2)) as job:
            job.wait_for(f"step {bench.chance.randint(2, 200)} ")
            started = time.monotonic()
            getattr(job.containers[lost], fault)()
            code = job.containers[left].wait(timeout=300)["StatusCode"]
            seconds[fault].append(time.monotonic() - started)
            if code != 1 or not job.failure(left).startswith(f"The platform: host {lost} was lost"):
                complaints.append(f"{fault} {lost}: exit code {code}, {job.failure(left)!r}")
            if seconds[fault][-1] > PEER_LIMIT:
                complaints.append(f"{fault} {lost}: {seconds[fault][-1]:.1f} s")
    figures = "; ".join(f"{fault} {len(found)} runs, {spread(found)}" for fault, found in seconds.items() if found)
    bench.report(f"a lost host is named within {PEER_LIMIT:g} s", figures, complaints)


def failing_hosts(bench: Bench) -> None:
    """One of two hosts fails: no host may report success, and all give the same reason."""
    complaints = []
    for number in range(bench.slow_runs):
        error, host = bench.chance.choice(ERRORS), bench.chance.choice(["algo-1", "algo-2"])
        mounts = changed_module(bench.folder / f"fault-{number}", "losses.py", append=BREAKS.format(error=error))
        with running(bench.job(QUICK, 2), only={host: {"mounts": mounts}}) as job:
            codes = job.wait()
            if set(codes.values()) != {1} or not all(job.failure(name) for name in job.hosts):
                complaints.append(f"{error} on {host}: {codes}, {[job.failure(name) for name in job.hosts]}")
    bench.report("one failing host of two is never a success", f"{bench.slow_runs} runs", complaints)


def mistakes(bench: Bench) -> None:
    """Users' mistakes reach the failure file soon."""
    seconds, complaints = [], []
    for mistake in MISTAKES:
        with running(bench.job(QUICK | mistake)) as job:
            job.wait()
            seconds.append(job.life_seconds())
            if not job.failure().startswith("Your ") or seconds[-1] > MISTAKE_LIMIT:
                complaints.append(f"{mistake}: {seconds[-1]:.1f} s, {job.failure()!r}")
    bench.report(f"a mistake is told within {MISTAKE_LIMIT:g} s", f"{len(seconds)} runs, {spread(seconds)}", complaints)


def hook_overhead(bench: Bench) -> None:
    """From the start of the container to the first line of the script."""
    seconds = []
    script = bench.folder / "train.py"
    script.write_text(FIRST_LINE)
    for _ in range(bench.slow_runs):
        with running(bench.job(QUICK), mounts={"code/train.py": script}) as job:
            job.wait()
            container = job.containers["algo-1"]
            container.reload()
            lines = container.logs(timestamps=True).decode().splitlines()
            (line,) = [line for line in lines if line.endswith("first line of the script")]
            printed = time_of(line.split()[0])
            seconds.append((printed - time_of(container.attrs["State"]["StartedAt"])).total_seconds())
    complaints = [f"{statistics.median(seconds):.2f} s"] if statistics.median(seconds) > OVERHEAD_LIMIT else []
    bench.report(
        f"start to the script's first line, median at most {OVERHEAD_LIMIT:g} s",
        f"{len(seconds)} runs, {spread(seconds)}",
        complaints,
    )


def spread(values: list[float]) -> str:
    """Median, 99th percentile and the largest."""
    ordered = sorted(values)
    return (
        f"median {statistics.median(ordered):.2f} s, p99 {ordered[int(0.99 * (len(ordered) - 1) + 0.5)]:.2f} s, "
        f"largest {ordered[-1]:.2f} s"
    )


PROMISES: tuple[Callable[[Bench], None], ...] = (hook_overhead, mistakes, failing_hosts, lost_hosts, stop_signals)


@contextlib.contextmanager
def bench_of(runs: int, seed: int) -> Iterator[Bench]:
    containers.remove_leftovers()
    try:
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            yield Bench(runs, seed, Path(folder))
    finally:
        containers.remove_leftovers()


def main() -> int:
    parser = argparse.ArgumentParser(description="Break training in many ways, and see whether it keeps its promises.")
    parser.add_argument("--runs", type=int, default=200, help="stop signals; of slow faults at most 30 (default 200)")
    parser.add_argument("--seed", type=int, default=int(datetime.now().timestamp()), help="of the random times")
    parser.add_argument("--only", choices=[promise.__name__ for promise in PROMISES], help="one promise alone")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with bench_of(options.runs, options.seed) as bench:
        for promise in PROMISES:
            if options.only in (None, promise.__name__):
                promise(bench)
    return 0 if bench.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
