"""A training job in a folder of its own, run as a process. Standard library only: the launcher's tests use it too."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from support import forked_jobs

GOOD = ("good great fine lovely superb", "positive")
BAD = ("bad awful poor dull dreadful", "negative")

#: Variables that our own code reads, when it needs them.
READ_LATE = {"TEXT_OPS", "TRAINING_JOB_NAME", "IMAGE_REVISION", "IMAGE_DIGEST"}


@dataclass
class Job:
    """The folders of one job, with methods to fill them and to run it."""

    base: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, channel: str, name: str, content: str | bytes) -> Path:
        path = self.base / "input" / "data" / channel / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the job in a new process, for a test of its start, of signals, or of several at once."""
        return subprocess.Popen(
            [sys.executable, _script(), *arguments],
            env=self._variables | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run the job to its end. Returns the exit code and the log.

        Its process is forked from one with the libraries imported, unless the job has variables that a library may read
        when it is imported.
        """
        if self.environment.keys() <= READ_LATE:
            return forked_jobs.run(_script(), arguments, self._variables)
        process = self.start(*arguments)
        log, _ = process.communicate(timeout=240)
        return process.returncode, log

    @property
    def _variables(self) -> dict[str, str]:
        return os.environ | {"SAGEMAKER_BASE_DIR": str(self.base), "OMP_NUM_THREADS": "1"} | self.environment

    def run_ranks(self, *arguments: str, each: Sequence[Mapping[str, str]]) -> tuple[list[int], list[str]]:
        """Run one process a rank, with the variables that each one has. Returns the exit codes and the logs."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": str(len(each)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return wait([self.start(*arguments, RANK=str(rank), **shared, **own) for rank, own in enumerate(each)])

    def clear(self) -> None:
        """Remove what earlier runs left, checkpoints included."""
        for folder in ("model", "output", "checkpoints"):
            shutil.rmtree(self.base / folder, ignore_errors=True)

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()

    @property
    def metrics(self) -> dict[str, object]:
        report: dict[str, object] = json.loads((self.base / "output" / "data" / "metrics.json").read_text())
        return report


def _script() -> str:
    found = importlib.util.find_spec("train")
    assert found is not None and found.origin is not None
    return found.origin


def wait(processes: Sequence[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """The exit codes and the logs of processes that work together. As in the hook, one that fails ends the others."""

    def log_of(process: subprocess.Popen[str]) -> str:
        try:
            log, _ = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            log, _ = process.communicate()
        if process.returncode:
            for other in processes:
                other.terminate()
        return log

    with ThreadPoolExecutor(len(processes)) as pool:
        logs = list(pool.map(log_of, processes))
    return [process.returncode for process in processes], logs


def warnings_in(log: str) -> list[str]:
    """The lines with a warning, but for the one that a job as small as those of tests has learned nothing."""
    return [line for line in log.splitlines() if "WARNING" in line and "is no better than the baseline" not in line]


def table(rows: Iterable[tuple[str, str]]) -> str:
    return "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)


def easy_rows(count: int) -> list[tuple[str, str]]:
    """Rows that any classifier can learn, of different lengths."""
    rows = []
    for number in range(count):
        words, label = (GOOD, BAD)[number % 2]
        rows.append((" ".join((words.split() * 3)[number % 5 : number % 5 + 3 + number % 7]), label))
    return rows
