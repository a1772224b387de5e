"""Starts the processes of a host, forwards stop signals to them and reports how they end.

They run train.py, one per GPU, and prepare.py once for all of them; or a user's own script where the job names one
(runtime/user_script.py).

The sagemaker-training toolkit calls `run` in the container's first process (SAGEMAKER_TRAINING_MODULE=hook:run). By
itself the toolkit does not forward SIGTERM to the training script, leaves the failure reason empty and uses one GPU.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from sagemaker_training.errors import ClientError

from text_classifier.contract.errors import (
    JobError,
    PlatformError,
    first_line,
    out_of_host_memory,
    out_of_memory_preparing,
    print_traceback,
)
from text_classifier.runtime import gpu, owner, run_script
from text_classifier.runtime.cpus import tokenizing_variables
from text_classifier.runtime.folders import PREPARED, JobFolders, job_folders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.owner import Owner
from text_classifier.runtime.stop import NOTHING_TO_SAVE
from text_classifier.runtime.user_script import UserScript

SCRIPT = Path(__file__).with_name("train.py")
PREPARATION = Path(__file__).with_name("prepare.py")

#: Grace period for the other processes of the host after one has failed; then they get SIGKILL.
GRACE_SECONDS = 10.0

#: Exit codes of a process that was killed: by the kernel, when memory is exhausted.
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class Processes:
    """The training processes of this host, and the one that prepares their data.

    SIGTERM is forwarded to them at any time, also while they start.
    """

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []  #: those that train
        self.preparation: subprocess.Popen[bytes] | None = None
        self.failed: subprocess.Popen[bytes] | None = None  #: the first that failed, once `wait` has returned
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)  # Ctrl-C at a terminal: the same clean stop
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked by start.py's shebang

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True
        self._signal(signal.SIGTERM)

    @property
    def _all(self) -> list[subprocess.Popen[bytes]]:
        return [*([self.preparation] if self.preparation else []), *self.running]

    def _signal(self, number: int) -> None:
        for process in self._all:
            process.send_signal(number)  # does nothing once the process has ended

    def prepare(self, command: list[str], environment: dict[str, str], user: Owner | None = None) -> None:
        """Start the process that prepares the data, unless a stop came first. Without `user` it is the current one."""
        self.preparation = next(self._started(command, [environment], user), None)

    def start(
        self,
        command: list[str],
        environments: list[dict[str, str]],
        user: Owner | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start one training process per environment, in `folder`, unless a stop came first.

        Without `user` they run as the current user.
        """
        for process in self._started(command, environments, user, folder):
            self.running.append(process)
        if self.is_stopping:
            self._signal(signal.SIGTERM)

    def _started(
        self,
        command: list[str],
        environments: Sequence[dict[str, str]],
        user: Owner | None,
        folder: Path | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Each process gets its own process group, so that Ctrl-C reaches it only through `_stop`."""
        options = user.process_options() if user else {}
        for environment in environments:
            if self.is_stopping:
                break
            variables = os.environ | environment
            yield subprocess.Popen(command, env=variables, cwd=folder, process_group=0, **options)

    def wait(self) -> int:
        """Wait for all processes. Returns 0 when all succeeded, else the exit code of the first that failed."""
        while self._any_alive() and not self._first_failure():
            time.sleep(0.05)
        self.failed = self._first_failure()
        if self.failed:
            self._end()
        if self.preparation and self.preparation.returncode:
            with contextlib.suppress(ProcessLookupError):  # it may have left workers
                os.killpg(self.preparation.pid, signal.SIGKILL)
        return self.failed.returncode if self.failed else 0

    def _end(self) -> None:
        """End the other processes after one has failed: at once while the data is prepared, else after a while."""
        if self.preparation and self.preparation.poll() != 0:
            self._signal(signal.SIGKILL)  # the other hosts would take SIGTERM for a stop of the job (carrier.py)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._any_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)
        for process in self._all:
            process.wait()

    def _any_alive(self) -> bool:
        return any(process.poll() is None for process in self._all)

    def _first_failure(self) -> subprocess.Popen[bytes] | None:
        for process in self._all:
            code = process.poll()
            if code and not self._ended_by_stop(code):
                return process
        return None

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
        hosts = Hosts.from_resources(folders.configuration.resources())
        if reason := _run_script(folders, hosts, script) if script else _train(folders, hosts):
            raise reason
    except Exception as error:
        if not isinstance(error, JobError):
            print_traceback()
        folders.write_failure(error)
        raise ClientError((folders.failure() or first_line(error)).splitlines()[0]) from None


def _run_script(folders: JobFolders, hosts: Hosts, script: UserScript) -> JobError | None:
    """Run the user's script to its end. Returns the reason of a failure that has left none itself."""
    processes = Processes()
    count = max(1, gpu.prepare())
    print(f"Running {script.program} of {script.source}", flush=True)
    script.provide()
    command, variables = script.command(), script.environment(hosts, lambda: processes.is_stopping)
    environments = [variables | each for each in hosts.environments(count if script.is_python else 1)]
    processes.start(command, environments, _user(folders), script.folder)
    code = processes.wait()
    if not code and processes.had_nothing_to_save:
        print(f"{script.program} was stopped.", flush=True)
    if code in KILLED:
        return script.killed()
    if code > 0:
        return script.ended(code)
    return _reason(code, "training") if code else None


def _train(folders: JobFolders, hosts: Hosts) -> JobError | None:
    """Prepare the data, and train, to the end. Returns the reason of a failure that has left none itself."""
    processes = Processes()
    count = max(1, gpu.prepare())
    arguments = [f"--{name}={value}" for name, value in folders.configuration.hyperparameters().items()]
    user = _user(folders)
    prepared = owner.new_folder("prepared-", user)
    environments = [each | {PREPARED: str(prepared)} for each in hosts.environments(count)]
    try:
        variables = environments[0] | tokenizing_variables()
        processes.prepare([sys.executable, str(PREPARATION), str(prepared), *arguments], variables, user)
        processes.start([sys.executable, str(SCRIPT), *arguments], environments, user)
        code = processes.wait()
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    if not code and processes.had_nothing_to_save:
        print(NOTHING_TO_SAVE, flush=True)
    if not code:
        return None
    is_preparation = processes.failed is processes.preparation
    if code in KILLED:
        return out_of_memory_preparing() if is_preparation else out_of_host_memory()
    return _reason(code, "data preparation" if is_preparation else "training")


def _user(folders: JobFolders) -> Owner | None:
    """The user that the processes run as, with a home."""
    user = owner.training_user(folders.model, folders.outputs(), folders.inputs())
    owner.provide_home(user)
    return user


def _reason(code: int, what: str) -> PlatformError:
    """The reason why a process ended that left none itself."""
    if code == -signal.SIGABRT and what == "training":
        return PlatformError(
            "training was aborted by a library, with several hosts most often because another host was lost; look at "
            "the end of all logs, then start the job again"
        )
    if code < 0:
        name = signal.Signals(-code).name
        return PlatformError(f"{what} was killed by {name}; look at the end of the job's log, then start it again")
    return PlatformError(f"{what} ended with exit code {code}; look at the end of the job's log")
