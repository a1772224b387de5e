"""Killed and restarted jobs end with the weights of an uninterrupted one, also after a full disk.

Each start is a new container with empty folders, like after the loss of a spot instance: only checkpoints remain.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docker.models.containers import Container

import docker
from faults.bench import Bench, spread
from support import containers
from support.containers import LABEL, QUICK, ContainerJob, running
from support.jobs import easy_rows, table

ROWS = 2_000
CHECKPOINT_SECONDS = 1.0
SETTINGS = QUICK | {"epochs": "3", "learning_rate": "0.001", "checkpoint_seconds": f"{CHECKPOINT_SECONDS:g}"}
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}

#: Maximum number of kills before the job may run to its end.
KILLS_IN_A_ROW = 10

#: A host waits 300 s (START_SECONDS in runtime/hosts.py) for one that was killed before the rendezvous.
ENDS_WITHIN = 300 + 120

#: Maximum seconds lost by a kill: the checkpoint interval, and the time to write one on a busy machine.
LOST_LIMIT = CHECKPOINT_SECONDS + 2.0


class Chain:
    """The successive starts of one job. `checkpoints` is a folder on this machine or the name of a volume."""

    def __init__(self, bench: Bench, checkpoints: Path | str, host_count: int = 1) -> None:
        self.bench = bench
        self.checkpoints = checkpoints
        self.host_count = host_count
        self.log = ""

    @contextlib.contextmanager
    def start(self) -> Iterator[ContainerJob]:
        """Start the job in new containers; `log` becomes the log of its first host."""
        job = self.bench.job(SETTINGS, self.host_count)
        job.channel("train", "reviews.tsv", table(easy_rows(ROWS)))
        config = job.base / "channels" / "model" / "config.json"
        content = json.loads(config.read_text()) | DROPOUT
        config.unlink()  # a hard link, shared by all jobs
        config.write_text(json.dumps(content))
        with running(job, mounts={"checkpoints": self.checkpoints}):
            try:
                yield job
            finally:
                self.log = job.containers["algo-1"].logs(timestamps=True).decode(errors="replace")

    def finish(self) -> tuple[str, str]:
        """Run the job to its end. Returns the SHA-256 of its weights and a complaint; one of the two is empty."""
        with self.start() as job:
            codes = job.wait(300)
            weights = job.folder("algo-1", "model") / "model.safetensors"
            if set(codes.values()) != {0} or not weights.exists():
                return "", f"exit codes {codes}: {job.failure()}"
            return hashlib.sha256(weights.read_bytes()).hexdigest(), ""

    def kill(self, signal: str, delay: float) -> str:
        """Start the job and kill one random host after `delay` seconds. Returns a complaint, or an empty text."""
        with self.start() as job:
            time.sleep(delay)
            killed = self.bench.chance.choice(job.hosts)
            with contextlib.suppress(docker.errors.APIError):  # it has already ended
                job.containers[killed].kill(signal)
            codes = job.wait(ENDS_WITHIN)
            if signal == "SIGTERM" and codes[killed]:
                return f"exit codes {codes} after SIGTERM to {killed}: {job.failure(killed)}"
            # A stop of one host before the rendezvous looks like a kill to the other host.
            for host in set(job.hosts) - {killed}:
                if codes[host] and not job.failure(host).startswith(f"The platform: host {killed} "):
                    return f"exit codes {codes}, {killed} was killed, {host}: {job.failure(host)}"
            return ""


def kills(bench: Bench) -> None:
    """Three of four with SIGKILL, each at a random time of the run."""
    _kill_chains(bench, 2 * bench.runs, host_count=1)


def kills_of_a_host(bench: Bench) -> None:
    """One of two hosts is killed: the other ends with a reason, and both are restarted."""
    _kill_chains(bench, bench.slow_runs, host_count=2)


def _kill_chains(bench: Bench, count: int, host_count: int) -> None:
    started = time.monotonic()
    expected, complaint = Chain(bench, bench.new_folder("checkpoints"), host_count).finish()
    life = time.monotonic() - started
    complaints = [complaint] if complaint else []
    lost: list[float] = []
    done = 0
    while done < count:
        chain = Chain(bench, bench.new_folder("checkpoints"), host_count)
        for _ in range(min(KILLS_IN_A_ROW, count - done)):
            signal = bench.chance.choice(["SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM"])
            complaint = chain.kill(signal, bench.chance.uniform(0, life))
            complaints += [f"{signal}: {complaint}"] if complaint else []
            lost += [_lost_seconds(chain)] if signal == "SIGKILL" else []
            done += 1
        weights, complaint = chain.finish()
        if complaint or weights != expected:
            complaints.append(complaint or f"other weights: {weights}, uninterrupted {expected}")
    if max(lost) > LOST_LIMIT:
        complaints.append(f"a kill cost {max(lost):.1f} s of work")
    bench.report(
        f"killed, with {host_count} hosts: the same weights, at most {LOST_LIMIT:g} s lost"
        if host_count > 1
        else f"killed up to {KILLS_IN_A_ROW} times in a row: the same weights, at most {LOST_LIMIT:g} s lost",
        f"{done} kills in lives of {life:.0f} s; work lost: {spread(lost)}",
        complaints,
    )


def _lost_seconds(chain: Chain) -> float:
    """Seconds from the newest checkpoint, or the first step of this start, to the last step in the log."""
    assert isinstance(chain.checkpoints, Path)
    kept = max((int(path.name[5:]) for path in chain.checkpoints.glob("step-*") if path.suffix == ""), default=0)
    steps = {}
    for line in chain.log.splitlines():
        stamp, _, text = line.partition(" ")
        if text.startswith("step "):
            steps[int(text.split()[1])] = containers.time_of(stamp)
    if not steps or max(steps) <= kept:
        return 0.0
    return (steps[max(steps)] - steps.get(kept, steps[min(steps)])).total_seconds()


def full_disks(bench: Bench) -> None:
    """The disk fills up to just under one, two or three checkpoints at a random step. The last whole one survives."""
    reference = bench.new_folder("checkpoints")
    expected, complaint = Chain(bench, reference).finish()
    complaints = [complaint] if complaint else []
    size = max(sum(f.stat().st_size for f in path.iterdir()) for path in reference.iterdir())
    warned = ended = 0
    count = max(1, bench.runs // 2)
    for number in range(count):
        with _disk(7 * size, f"{LABEL}.{number}") as (volume, holder):
            chain = Chain(bench, volume)
            with chain.start() as job:
                job.wait_for(f"step {bench.chance.randint(30, 500)} ")
                _fill(holder, room=(1 + number % 3) * size - 4096)
                ended += job.wait(300)["algo-1"]
            warned += "could not be written" in chain.log
            holder.exec_run(["rm", "/disk/ballast"])
            weights, complaint = chain.finish()
            if "Resuming from the checkpoint of step" not in chain.log:
                complaint += " started over"
            if complaint or weights != expected:
                complaints.append(complaint or f"other weights: {weights}, not {expected}")
    bench.report(
        "a full disk takes no whole checkpoint away",
        f"{count} runs; {warned} had checkpoints that did not fit, {ended} were ended by the third",
        complaints,
    )


@contextlib.contextmanager
def _disk(size: int, name: str) -> Iterator[tuple[str, Container]]:
    """A small disk in memory, and a container that keeps it between jobs."""
    client = docker.from_env()
    options: Mapping[str, Any] = {"type": "tmpfs", "device": "tmpfs", "o": f"size={size}"}
    volume = client.volumes.create(name, driver="local", driver_opts=options)
    holder = client.containers.run(
        containers.IMAGE, ["sleep", "infinity"], detach=True, labels={LABEL: ""}, network_mode="none",
        volumes={name: {"bind": "/disk", "mode": "rw"}},
    )  # fmt: skip
    try:
        yield name, holder
    finally:
        holder.remove(force=True)
        volume.remove()


def _fill(holder: Container, room: int) -> None:
    """Fill the disk except for `room` bytes. Space freed meanwhile stays free, like on a shared disk."""
    script = f"n=$(df --output=avail -B1 /disk | tail -n 1); head -c $((n > {room} ? n - {room} : 0)) /dev/zero"
    code, output = holder.exec_run(["bash", "-c", f"{script} >/disk/ballast"])
    assert code == 0, output
