"""How jobs end: stop signals, lost hosts, users' mistakes. And how fast they start."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import docker
from faults.bench import Bench, spread
from launcher import ROOT
from launcher.local import local_job
from support.containers import (
    BREAKS,
    CODE,
    ENDLESS,
    IMAGE,
    LABEL,
    QUICK,
    WHOLE_LIFE,
    Stop,
    changed_module,
    running,
    stop_after,
    time_of,
)
from support.jobs import easy_rows, table

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


def stop_signals(bench: Bench) -> None:
    """Half of the signals in the first 3 seconds, half over the whole run; every third job on two hosts."""
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
    """Kill or pause one of two hosts, with the default timeout."""
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
    """One of two hosts fails: no host may report success, and all report the same reason."""
    complaints = []
    for number in range(bench.slow_runs):
        error, host = bench.chance.choice(ERRORS), bench.chance.choice(["algo-1", "algo-2"])
        mounts = changed_module(
            bench.folder / f"fault-{number}",
            "training/loss_tracking.py",
            append=BREAKS.format(error=error),
        )
        with running(bench.job(QUICK, 2), only={host: {"mounts": mounts}}) as job:
            codes = job.wait()
            if set(codes.values()) != {1} or not all(job.failure(name) for name in job.hosts):
                complaints.append(f"{error} on {host}: {codes}, {[job.failure(name) for name in job.hosts]}")
    bench.report("one failing host of two is never a success", f"{bench.slow_runs} runs", complaints)


def failing_hosts_in_local_mode(bench: Bench) -> None:
    """One of two hosts fails in `launch.py local`, whose SDK reports the exit code of the container that ends first.

    The SDK has no mounts for a broken module, so it is in a separate image.
    """
    complaints = []
    text = bench.new_folder("data") / "reviews.tsv"
    text.write_text(table(easy_rows(64)))
    for number in range(bench.slow_runs):
        rank = number % 2
        image = _broken_image(bench.new_folder("image"), rank, bench.chance.choice(ERRORS))
        name = f"fault-{os.getpid()}-{number}"
        words = ["--image", image, "--job-name", name, "--data", text, "--model", bench.model, "--instance-count", "2"]
        done = subprocess.run(
            [sys.executable, ROOT / "launch.py", "local", *words, "--skip-data-check", "train_batch_size=8"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        shutil.rmtree(local_job.RUNS / name, ignore_errors=True)
        if done.returncode != 1 or not re.search(r"^launch\.py: the job failed\. \w+", done.stdout, re.MULTILINE):
            complaints.append(f"rank {rank}: exit code {done.returncode}, {done.stdout[-1000:]}")
    bench.report("one failing host of two is never a success in local mode", f"{bench.slow_runs} runs", complaints)


def _broken_image(folder: Path, rank: int, error: str) -> str:
    """The image with a loss_tracking.py that fails on one rank."""
    there = f'__import__("os").environ["RANK"] == "{rank}"'
    (folder / "breaks.py").write_text(BREAKS.format(error=error).replace("step == 3", f"step == 3 and {there}"))
    (folder / "Dockerfile").write_text(
        f"FROM {IMAGE}\nCOPY breaks.py /\n"
        f"RUN cat /breaks.py >>{CODE}/text_classifier/training/loss_tracking.py && rm /breaks.py\n"
    )
    tag = f"{LABEL}:rank-{rank}"
    docker.from_env().images.build(path=str(folder), tag=tag, rm=True)
    return tag


def mistakes(bench: Bench) -> None:
    """Users' mistakes reach the failure file quickly."""
    seconds, complaints = [], []
    for mistake in MISTAKES:
        with running(bench.job(QUICK | mistake)) as job:
            job.wait()
            seconds.append(job.life_seconds())
            if not job.failure().startswith("Your ") or seconds[-1] > MISTAKE_LIMIT:
                complaints.append(f"{mistake}: {seconds[-1]:.1f} s, {job.failure()!r}")
    promise = f"a mistake is reported within {MISTAKE_LIMIT:g} s"
    bench.report(promise, f"{len(seconds)} runs, {spread(seconds)}", complaints)


def hook_overhead(bench: Bench) -> None:
    """Time from the start of the container to the first line of the script."""
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
