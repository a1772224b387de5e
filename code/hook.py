"""Starts the processes of a host, forwards stop signals to them and reports how they end.

They run train.py, or a user's own script where the job names one (runtime/user_script.py).

The sagemaker-training toolkit calls `run` in the container's first process (SAGEMAKER_TRAINING_MODULE=hook:run). By
itself the toolkit does not forward SIGTERM to the training script, leaves the failure reason empty and uses one GPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from sagemaker_training.errors import ClientError

from text_classifier.contract.errors import JobError, PlatformError, first_line, out_of_host_memory, print_traceback
from text_classifier.runtime import gpu, owner, run_script, shards
from text_classifier.runtime.folders import GATHERED, JobFolders, job_folders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.owner import Owner
from text_classifier.runtime.user_script import UserScript

SCRIPT = Path(__file__).with_name("train.py")

#: Grace period for the other processes of the host after one has failed; then they get SIGKILL.
GRACE_SECONDS = 10.0

NOTHING_TO_SAVE = "Stopped before the first step: there is nothing to save."


class Processes:
    """The training processes of this host. SIGTERM is forwarded to them at any time, also while they start."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)  # Ctrl-C at a terminal: the same clean stop
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked by start.py's shebang

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for process in self.running:
            process.send_signal(number)  # does nothing once the process has ended

    def start(
        self,
        command: list[str],
        environments: list[dict[str, str]],
        user: Owner | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start one process per environment, in `folder`, unless a stop came first.

        Each process gets its own process group, so that Ctrl-C reaches it only through `_stop`. Without `user` they run
        as the current user.
        """
        options = user.process_options() if user else {}
        for environment in environments:
            if self.is_stopping:
                break
            variables = os.environ | environment
            self.running.append(subprocess.Popen(command, env=variables, cwd=folder, process_group=0, **options))
        if self.is_stopping:
            self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for all processes. Returns 0 when all succeeded, else the exit code of the first that failed."""
        while self._any_alive():
            if failed := self._first_failure():
                deadline = time.monotonic() + GRACE_SECONDS
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
        """Whether SIGTERM ended the process; our training lets it only while there is nothing to save."""
        return self.is_stopping and code in (-signal.SIGTERM, run_script.STOPPED)

    @property
    def had_nothing_to_save(self) -> bool:
        """Whether the stop came before there was anything to save."""
        return self.is_stopping and all(self._ended_by_stop(process.wait()) for process in self.running)


def run() -> None:
    """Train on this host. Returns when the job has completed or was stopped cleanly.

    Raises the toolkit's ClientError otherwise, which makes the container exit with code 1. The toolkit's `finally`
    would turn SystemExit into exit code 0.
    """
    folders = job_folders()
    try:
        script = UserScript.of_job(folders)
        code = _train(folders, Hosts.from_resources(folders.configuration.resources()), script)
        if code:
            raise _reason(code, script)
    except Exception as error:
        if not isinstance(error, JobError):
            print_traceback()
        folders.write_failure(error)
        raise ClientError((folders.failure() or first_line(error)).splitlines()[0]) from None


def _train(folders: JobFolders, hosts: Hosts, script: UserScript | None) -> int:
    """Run this host's processes to their end: of the user's script, else of train.py. Returns the exit code."""
    processes = Processes()
    count = max(1, gpu.prepare())
    if script:
        print(f"Running {script.program} of {script.source}", flush=True)
        script.provide()
        command, variables = script.command(), script.environment(hosts, lambda: processes.is_stopping)
        count = count if script.is_python else 1
    else:
        if sharded := folders.configuration.sharded_channels():
            _gather(folders, hosts, sharded, processes)
        arguments = [f"--{name}={value}" for name, value in folders.configuration.hyperparameters().items()]
        command, variables = [sys.executable, str(SCRIPT), *arguments], {}
    user = owner.training_user(folders.model, folders.outputs(), folders.inputs())
    owner.provide_home(user)
    environments = [variables | each for each in hosts.environments(count)]
    processes.start(command, environments, user, script.folder if script else None)
    code = processes.wait()
    if not code and processes.had_nothing_to_save:
        print(f"{script.program} was stopped." if script else NOTHING_TO_SAVE, flush=True)
    return code


def _gather(folders: JobFolders, hosts: Hosts, channels: list[str], processes: Processes) -> None:
    """Fetch the files of the other hosts, and make training read the complete channels."""
    started = time.monotonic()
    key = shards.key(folders.configuration)
    shards.serve(folders.data, channels, key, hosts.listening_address())
    peers = {host: (host, shards.PORT) for host in hosts.names if host != hosts.current}
    os.environ[GATHERED] = str(shards.gather(folders.data, channels, key, peers, lambda: processes.is_stopping))
    print(
        f"gathered the files of all hosts for {', '.join(channels)} in {time.monotonic() - started:.1f} s", flush=True
    )


def _reason(code: int, script: UserScript | None) -> JobError:
    """The reason why a process ended that left none itself."""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return script.killed() if script else out_of_host_memory()
    if code == -signal.SIGABRT:
        return PlatformError(
            "training was aborted by a library, with several hosts most often because another host was lost; look at "
            "the end of all logs, then start the job again"
        )
    if code < 0:
        name = signal.Signals(-code).name
        return PlatformError(f"training was killed by {name}; look at the end of the job's log, then start it again")
    if script:
        return script.ended(code)
    return PlatformError(f"training ended with exit code {code}; look at the end of the job's log")
