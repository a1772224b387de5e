"""SageMaker's folder layout: where a job finds its input and leaves its output.

SAGEMAKER_BASE_DIR, a variable of the toolkit, moves the whole layout: tests and runs without a container use it.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from text_classifier.contract.data_files import split_name
from text_classifier.contract.errors import PlatformError, SettingsError, describe, nearest
from text_classifier.contract.sagemaker import BASE, CHANNELS
from text_classifier.runtime.owner import give

#: Environment variable with the folder of the channels that shards.py has completed.
GATHERED = "GATHERED_CHANNELS"

#: Prefixes of the names that SageMaker's tuning and the SDK add to the hyperparameters; these are not checked.
_FOREIGN_PREFIXES = ("sagemaker_", "_tuning_")
#: The hyperparameter that SageMaker adds to each trial of a tuning job.
_TRIAL_MARK = "_tuning_objective_metric"


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
    def checkpoints(self) -> Path:
        """SageMaker copies it to S3 while the job runs, and back when the job restarts.

        The trials of a tuning job share one place in S3, so each uses a subfolder named after itself. Raises
        PlatformError when a trial does not know its name.
        """
        folder = self.base / "checkpoints"
        if _TRIAL_MARK not in self._config("hyperparameters.json"):
            return folder
        name = os.environ.get("TRAINING_JOB_NAME")
        if not name:
            raise PlatformError("this trial of a tuning job has no name; set TRAINING_JOB_NAME, as SageMaker does")
        return folder / name

    def outputs(self) -> list[Path]:
        """The folders that training writes to."""
        return [self.model, self.base / "output", self.output_data, self.base / "checkpoints"]

    def inputs(self) -> list[Path]:
        """The folders that training reads from, those that exist."""
        folders = (self._config_file("hyperparameters.json").parent, *map(self.channel, CHANNELS))
        return [folder for folder in folders if folder is not None and folder.is_dir()]

    def channel(self, name: str) -> Path | None:
        """The folder of an input channel; None when the job does not have the channel."""
        assert name in CHANNELS, name
        return self._channels().get(name)

    def _channels(self) -> dict[str, Path]:
        """The folder of each channel; for a sharded channel, the one with the files of all hosts."""
        folders = [self.data, *([Path(os.environ[GATHERED])] if GATHERED in os.environ else [])]
        return {path.name: path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_dir()}

    @property
    def data(self) -> Path:
        """The folder that holds the channels."""
        return self.base / "input" / "data"

    def sharded_channels(self) -> list[str]:
        """The channels with S3DistributionType=ShardedByS3Key; none when there is one host."""
        if len(self.resources().get("hosts", [])) < 2:
            return []
        return [
            name
            for name, config in self._config("inputdataconfig.json").items()
            if isinstance(config, dict) and config.get("S3DistributionType") == "ShardedByS3Key"
        ]

    def data_channels(self) -> dict[str, Path]:
        """The folders of the channels that hold rows.

        Raises SettingsError when there is no `train` channel, and for an unknown channel.
        """
        channels = self._channels()
        for name in sorted(channels):
            if name not in CHANNELS:
                split = split_name([name])
                hint = f"did you mean {split}?" if split else nearest(name, CHANNELS)
                raise SettingsError(f"unknown channel {name!r}; {hint}")
        if "train" not in channels:
            raise SettingsError("the job has no channel 'train'; name the channel with the training files 'train'")
        return {name: path for name, path in channels.items() if name != "model"}

    def hyperparameters(self) -> dict[str, str]:
        """The content of hyperparameters.json, as strings."""
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self._config("hyperparameters.json").items()
            if not name.startswith(_FOREIGN_PREFIXES)
        }

    def resources(self) -> dict[str, Any]:
        """The content of resourceconfig.json: current_host, hosts, network_interface_name."""
        return self._config("resourceconfig.json")

    def require_configuration(self) -> None:
        """Raise PlatformError when a configuration file that the toolkit needs is missing or cannot be read."""
        for name in ("hyperparameters.json", "resourceconfig.json", "inputdataconfig.json"):
            if not self._config_file(name).exists():
                raise PlatformError(
                    f"{self._config_file(name)} is missing; run the image as a SageMaker job or with launch.py local"
                )
            self._config(name)

    def _config_file(self, name: str) -> Path:
        return self.base / "input" / "config" / name

    def _config(self, name: str) -> dict[str, Any]:
        path = self._config_file(name)
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise PlatformError(f"{path} cannot be read ({error}); start the job again") from None
        if not isinstance(content, dict):
            raise PlatformError(f"{path} does not hold a JSON object; start the job again")
        return content

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
        path = self.base / "output" / "success"
        if path.exists():
            give(path, self.model)

    def failure(self) -> str | None:
        """The content of the failure file, if there is one."""
        return self._failure_file.read_text(encoding="utf-8") if self._failure_file.exists() else None

    @property
    def _failure_file(self) -> Path:
        return self.base / "output" / "failure"


def job_folders() -> JobFolders:
    """The folders of the job that this process belongs to."""
    return JobFolders(Path(os.environ.get("SAGEMAKER_BASE_DIR", BASE)))
