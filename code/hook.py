"""Starts and stops training inside SageMaker.

The sagemaker-training toolkit calls `run` in the container's first process (SAGEMAKER_TRAINING_MODULE=hook:run).
Left alone, the toolkit keeps SIGTERM from the training script, leaves the failure reason empty and uses one GPU; this
module is the place where all three are mended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from sagemaker_training.environment import num_gpus
from sagemaker_training.errors import ClientError

from contract import contract
from failures import JobError, PlatformError, describe
from hosts import Hosts

SCRIPT = Path(__file__).with_name("train.py")


class Processes:
    """The training processes of this host. A SIGTERM reaches them whenever it comes, also while they start."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self._forward)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(number)

    def start(self, command: list[str], environments: list[dict[str, str]]) -> None:
        """Start one process for each environment, unless a stop came first. A variable the user has set wins."""
        for environment in environments:
            if self.is_stopping:
                break
            self.running.append(subprocess.Popen(command, env=environment | os.environ))
        if self.is_stopping:
            self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return 0 when all succeeded. When one fails the others are killed: they would wait for it in vain."""
        while any(process.poll() is None for process in self.running):
            failed = self._first_failure()
            if failed:
                self._signal(signal.SIGKILL)
                return failed
            time.sleep(0.05)
        return self._first_failure()

    def _first_failure(self) -> int:
        for process in self.running:
            code = process.poll()
            stopped = self.is_stopping and code == -signal.SIGTERM  # it came before the script could listen
            if code and not stopped:
                return code
        return 0


def run() -> None:
    """Train on this host. Returns when the job is completed or cleanly stopped.

    Raises the toolkit's ClientError otherwise: it makes the container exit with code 1. (SystemExit would not do: the
    toolkit's own `finally` turns it into exit code 0.)
    """
    job = contract()
    try:
        code = _train(job.hyperparameters(), Hosts.from_resources(job.resources()))
        if code:
            raise PlatformError(_reason(code))
    except JobError as error:
        job.write_failure(error)
        raise ClientError((job.failure() or describe(error)).splitlines()[0]) from None


def _train(hyperparameters: dict[str, str], hosts: Hosts) -> int:
    processes = Processes()
    arguments = [f"--{name}={value}" for name, value in hyperparameters.items()]
    processes.start([sys.executable, str(SCRIPT), *arguments], hosts.environments(max(1, num_gpus())))
    return processes.wait()


def _reason(code: int) -> str:
    """Say why a process ended that could not say it itself."""
    if code == -signal.SIGKILL:
        return "training was killed, most likely for want of memory; take a larger instance or a smaller batch"
    if code < 0:
        return f"training was ended by signal {signal.Signals(-code).name}; the job's log shows what came before"
    return f"training ended with exit code {code}; the job's log shows what came before"
