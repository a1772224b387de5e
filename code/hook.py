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
import traceback
from pathlib import Path
from types import FrameType

from sagemaker_training.errors import ClientError

from text_classifier.contract.errors import JobError, PlatformError, first_line, out_of_host_memory
from text_classifier.runtime import gpu, owner, shards
from text_classifier.runtime.folders import GATHERED, JobFolders, job_folders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.owner import Owner

SCRIPT = Path(__file__).with_name("train.py")

#: When one process fails the others of its host notice, and end by themselves; if not, they are killed after so long.
LAST_WORDS_SECONDS = 10.0


class Processes:
    """The training processes of this host. A SIGTERM reaches them whenever it comes, also while they start."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)  # Ctrl-C at a terminal: the same orderly end
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # start.py's first line had it blocked

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for process in self.running:
            process.send_signal(number)  # does nothing once the process has ended

    def start(self, command: list[str], environments: list[dict[str, str]], user: Owner | None = None) -> None:
        """Start one process for each environment, unless a stop came first. A variable the user has set wins.

        Each is in a process group of its own, so that Ctrl-C reaches it through `_stop` alone. Without a `user` they
        run as this process does.
        """
        options = user.process_options() if user else {}
        for environment in environments:
            if self.is_stopping:
                break
            self.running.append(subprocess.Popen(command, env=environment | os.environ, process_group=0, **options))
        if self.is_stopping:
            self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return 0 when all succeeded, else the exit code of the first that failed, when all have ended."""
        while self._any_alive():
            if failed := self._first_failure():
                deadline = time.monotonic() + LAST_WORDS_SECONDS
                while self._any_alive() and time.monotonic() < deadline:
                    time.sleep(0.05)
                self._signal(signal.SIGKILL)
                return failed
            time.sleep(0.05)
        return self._first_failure()

    def _any_alive(self) -> bool:
        return any(process.poll() is None for process in self.running)

    def _first_failure(self) -> int:
        for process in self.running:
            code = process.poll()
            if code and not self._ended_by_stop(code):
                return code
        return 0

    def _ended_by_stop(self, code: int) -> bool:
        """Until a process has something to save, SIGTERM simply ends it."""
        return self.is_stopping and code == -signal.SIGTERM

    @property
    def had_nothing_to_save(self) -> bool:
        """Whether the stop came before there was any work."""
        return self.is_stopping and all(self._ended_by_stop(process.wait()) for process in self.running)


def run() -> None:
    """Train on this host. Returns when the job is completed or cleanly stopped.

    Raises the toolkit's ClientError otherwise: it makes the container exit with code 1. (SystemExit would not do: the
    toolkit's own `finally` turns it into exit code 0.)
    """
    folders = job_folders()
    try:
        code = _train(folders, Hosts.from_resources(folders.resources()))
        if code:
            raise _reason(code)
    except Exception as error:
        if not isinstance(error, JobError):
            traceback.print_exc()
        folders.write_failure(error)
        raise ClientError((folders.failure() or first_line(error)).splitlines()[0]) from None


def _train(folders: JobFolders, hosts: Hosts) -> int:
    processes = Processes()
    gpus = gpu.capabilities()
    gpu.require_supported(gpus)
    folder = gpu.compat_folder() if gpus else None
    if folder:
        print(f"The host's driver is older than CUDA 13: using the compatibility library in {folder}", flush=True)
        os.environ["LD_LIBRARY_PATH"] = f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    if sharded := folders.sharded_channels():
        _gather(folders, hosts, sharded, processes)
    user = owner.training_user(folders.model, folders.outputs(), folders.inputs())
    owner.provide_home(user)
    arguments = [f"--{name}={value}" for name, value in folders.hyperparameters().items()]
    processes.start([sys.executable, str(SCRIPT), *arguments], hosts.environments(max(1, gpu.count(gpus))), user)
    code = processes.wait()
    if not code and processes.had_nothing_to_save:
        print("Stopped before the first step: there is nothing to save.", flush=True)
    return code


def _gather(folders: JobFolders, hosts: Hosts, channels: list[str], processes: Processes) -> None:
    """Get the files of the other hosts, and have training read the channels where they are whole."""
    started = time.monotonic()
    shards.serve(folders.data, channels)
    others = {host: (host, shards.PORT) for host in hosts.names if host != hosts.current}
    os.environ[GATHERED] = str(shards.gather(folders.data, channels, others, lambda: processes.is_stopping))
    print(
        f"gathered the files of all hosts for {', '.join(channels)} in {time.monotonic() - started:.1f} s", flush=True
    )


def _reason(code: int) -> JobError:
    """Say why a process ended that could not say it itself."""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return out_of_host_memory()
    if code == -signal.SIGABRT:
        return PlatformError(
            "training was aborted by a library; with several hosts that is most often because another one was lost: "
            "look at the ends of all logs, then start the job again"
        )
    if code < 0:
        name = signal.Signals(-code).name
        return PlatformError(f"training was ended by {name}; see the end of the job's log, then start it again")
    return PlatformError(f"training ended with exit code {code}; see the end of the job's log")
