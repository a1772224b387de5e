"""SageMaker's folder layout: where a job finds its input and leaves its output.

SAGEMAKER_BASE_DIR, a variable of the toolkit, moves the whole layout: tests and runs without a container use it.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from text_classifier.contract.data_files import split_name
from text_classifier.contract.errors import (
    JobError,
    PlatformError,
    SettingsError,
    describe,
    nearest,
    print_traceback,
)
from text_classifier.contract.sagemaker import BASE, CHANNEL_ALIASES, CHANNELS, FOREIGN_CHANNELS
from text_classifier.runtime.configuration import Configuration
from text_classifier.runtime.owner import give
from text_classifier.runtime.stop import Stopped

#: Environment variable with the folder of the prepared data. hook.py sets it for training.
PREPARED = "PREPARED_DATA"


@dataclass(frozen=True)
class JobFolders:
    """The folders of one job, all under `base`."""

    base: Path

    @property
    def model(self) -> Path:
        """SageMaker uploads it as model.tar.gz, also after a stop."""
        return self.base / "model"

    @property
    def output_data(self) -> Path:
        """SageMaker uploads it as output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def code(self) -> Path:
        """A user's own script, if the job has one; the SDK mounts it, or the toolkit fetches it."""
        return self.base / "code"

    @property
    def checkpoints(self) -> Path:
        """SageMaker copies it to S3 while the job runs, and back when the job restarts.

        The trials of a tuning job share one place in S3, so each uses a subfolder named after itself. Raises
        PlatformError when a trial does not know its name.
        """
        folder = self.base / "checkpoints"
        if not self.configuration.is_trial:
            return folder
        name = os.environ.get("TRAINING_JOB_NAME")
        if not name:
            raise PlatformError("this trial of a tuning job has no name; set TRAINING_JOB_NAME, as SageMaker does")
        return folder / name

    def outputs(self) -> list[Path]:
        """The folders that training writes to."""
        return [self.model, self.base / "output", self.output_data, self.base / "checkpoints"]

    def inputs(self) -> list[Path]:
        """The folders that training or a user's own script reads from, those that exist."""
        folders = (self.configuration.folder, self.code, *self._folders(self.data))
        return [folder for folder in folders if folder.is_dir()]

    def channel(self, name: str) -> Path | None:
        """The folder of an input channel; None when the job does not have the channel."""
        assert name in CHANNELS, name
        return self._channels().get(name)

    def _channels(self) -> dict[str, Path]:
        """The folder of each channel; of a sharded one it may be missing here, where no file of it lies."""
        found = {path.name: path for path in self._folders(self.data) if path.name not in FOREIGN_CHANNELS}
        sharded = set(self.configuration.sharded_channels()) - set(FOREIGN_CHANNELS)
        found |= {name: self.data / name for name in sharded}
        for alias, name in CHANNEL_ALIASES.items():
            if alias in found and name in found:
                raise SettingsError(f"the job has the channels {name!r} and {alias!r}, which are the same; keep one")
            if alias in found:
                found[name] = found.pop(alias)
        return dict(sorted(found.items()))  # the same order on all hosts

    def ignored_channels(self) -> list[str]:
        """The names of the channels that the SDK adds for itself."""
        return [path.name for path in self._folders(self.data) if path.name in FOREIGN_CHANNELS]

    @staticmethod
    def _folders(parent: Path) -> list[Path]:
        return [path for path in sorted(parent.glob("[!.]*")) if path.is_dir()]

    @property
    def data(self) -> Path:
        """The folder that holds the channels."""
        return self.base / "input" / "data"

    @property
    def configuration(self) -> Configuration:
        """SageMaker's configuration files."""
        return Configuration(self.base / "input" / "config")

    def data_channels(self) -> dict[str, Path]:
        """The folders of the channels that hold rows.

        Raises SettingsError when there is no `train` channel, for an unknown channel, and for one that does not come as
        files.
        """
        self.configuration.require_readable_channels()
        channels = self._channels()
        for name in sorted(channels):
            if name not in CHANNELS:
                split = split_name([name])
                hint = f"did you mean {split}?" if split else nearest(name, CHANNELS)
                if name == "checkpoints":
                    hint = "name the place of the checkpoints in CheckpointConfig, not as a channel"
                raise SettingsError(f"unknown channel {name!r}; {hint}")
        if "train" not in channels:
            raise SettingsError("the job has no channel 'train'; name the channel with the training files 'train'")
        return {name: path for name, path in channels.items() if name != "model"}

    def require_writable_outputs(self) -> None:
        """Raise PlatformError when an output folder cannot be written: before training, not after it."""
        for folder in (self.model, self.base / "output", self.output_data):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with TemporaryFile(dir=folder):  # a name of its own: all processes of a host look at the same time
                    pass
            except OSError as error:
                raise PlatformError(
                    f"{folder} is not writable ({error.strerror}); mount it writable for user {os.getuid()}"
                ) from None

    def clear_outcome(self) -> None:
        """Remove the failure and success files of an earlier run. Raises PlatformError when that is not possible."""
        for path in (self._failure_file, self._success_file):
            try:
                if os.path.lexists(path):  # where nothing may be written, unlink complains about a missing file too
                    path.unlink()
            except OSError as error:
                raise PlatformError(
                    f"{path} of an earlier run cannot be removed ({error.strerror}); mount an empty folder"
                ) from None

    def write_failure(self, error: BaseException) -> None:
        """Write the failure file that SageMaker reads. The first one is kept: later errors are its consequences."""
        path = self._failure_file
        if path.exists():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(describe(error))
            give(path, self.model)
        except OSError as problem:
            if path.exists() and path.stat().st_size:  # another process wrote it first
                return
            print(f"{path} cannot be written: {problem.strerror}", flush=True)

    def hand_over_success(self) -> None:
        """Give the toolkit's success file to the owner of the model folder."""
        if self._success_file.exists():
            give(self._success_file, self.model)

    def exit_code(self, work: Callable[[], None]) -> int:
        """Run the work of a process to its end. Prints why it failed or was stopped, and writes the failure file.

        Returns the exit code of the process.
        """
        try:
            work()
        except Stopped as end:
            print(end, flush=True)
        except JobError as error:
            print(describe(error), file=sys.stderr, flush=True)
            self.write_failure(error)
            return 1
        except Exception as error:
            print_traceback()
            self.write_failure(error)
            return 1
        return 0

    def failure(self) -> str | None:
        """The content of the failure file, if there is one."""
        return self._failure_file.read_text(encoding="utf-8") if self._failure_file.exists() else None

    @property
    def _success_file(self) -> Path:
        return self.base / "output" / "success"

    @property
    def _failure_file(self) -> Path:
        return self.base / "output" / "failure"


def job_folders() -> JobFolders:
    """The folders of the job that this process belongs to."""
    return JobFolders(Path(os.environ.get("SAGEMAKER_BASE_DIR", BASE)))
