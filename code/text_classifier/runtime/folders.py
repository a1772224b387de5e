"""SageMaker's training contract: where a job finds its input and leaves its output.

The only module that knows the folder layout. The toolkit's own variable SAGEMAKER_BASE_DIR moves all of it, which is
how the tests, and people without a container, run a job in a folder of their own.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import PlatformError, SettingsError, describe, nearest
from text_classifier.contract.sagemaker import BASE, CHANNELS
from text_classifier.runtime.owner import give

#: The variable that names the folder of the channels that shards.py has made whole.
GATHERED = "GATHERED_CHANNELS"

#: Names that SageMaker's tuning and the SDK add to the hyperparameters; they are not ours to check.
_FOREIGN_PREFIXES = ("sagemaker_", "_tuning_")
#: The one that SageMaker gives each trial of a tuning job.
_TRIAL_MARK = "_tuning_objective_metric"


@dataclass(frozen=True)
class JobFolders:
    """The folders of one job, below `base`."""

    base: Path

    @property
    def model(self) -> Path:
        """Becomes model.tar.gz, also after a stop."""
        return self.base / "model"

    @property
    def output_data(self) -> Path:
        """Becomes output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def checkpoints(self) -> Path:
        """Copied to S3 while the job runs, and back when it is started again.

        The trials of a tuning job have one place in S3, and may find each other's checkpoints: each has a folder of its
        own. Raises PlatformError when it does not know its name.
        """
        folder = self.base / "checkpoints"
        if _TRIAL_MARK not in self._config("hyperparameters.json"):
            return folder
        name = os.environ.get("TRAINING_JOB_NAME")
        if not name:
            raise PlatformError("a trial of a tuning job must know its name; set TRAINING_JOB_NAME, as SageMaker does")
        return folder / name

    def outputs(self) -> list[Path]:
        """The folders in which training writes."""
        return [self.model, self.base / "output", self.output_data, self.base / "checkpoints"]

    def inputs(self) -> list[Path]:
        """The folders from which training reads, as far as the job has them."""
        folders = (self._config_file("hyperparameters.json").parent, *map(self.channel, CHANNELS))
        return [folder for folder in folders if folder is not None and folder.is_dir()]

    def channel(self, name: str) -> Path | None:
        """The folder of an input channel, or None when the job does not have it."""
        assert name in CHANNELS, name
        return self._channels().get(name)

    def _channels(self) -> dict[str, Path]:
        """All folders of channels; of those that the hosts have shared out, the whole ones."""
        folders = [self.data, *([Path(os.environ[GATHERED])] if GATHERED in os.environ else [])]
        return {path.name: path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_dir()}

    @property
    def data(self) -> Path:
        """Where SageMaker puts the channels."""
        return self.base / "input" / "data"

    def sharded_channels(self) -> list[str]:
        """The channels of which SageMaker gives each host other files; none when there is one host."""
        if len(self.resources().get("hosts", [])) < 2:
            return []
        return [
            name
            for name, config in self._config("inputdataconfig.json").items()
            if isinstance(config, dict) and config.get("S3DistributionType") == "ShardedByS3Key"
        ]

    def data_channels(self) -> dict[str, Path]:
        """The folders of the channels that hold reviews.

        Raises SettingsError when there is no `train`, or when a channel has a name that means nothing here.
        """
        given = self._channels()
        for name in sorted(given):
            if name not in CHANNELS:
                raise SettingsError(f"the channel {name!r} is not known; {nearest(name, CHANNELS)}")
        if "train" not in given:
            raise SettingsError("the job has no channel 'train'; name the channel with the training files so")
        return {name: path for name, path in given.items() if name != "model"}

    def hyperparameters(self) -> dict[str, str]:
        """What hyperparameters.json holds, as strings."""
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self._config("hyperparameters.json").items()
            if not name.startswith(_FOREIGN_PREFIXES)
        }

    def resources(self) -> dict[str, Any]:
        """What resourceconfig.json holds: current_host, hosts, network_interface_name."""
        return self._config("resourceconfig.json")

    def require_configuration(self) -> None:
        """Find out whether SageMaker's files are there, which the toolkit cannot do without. Raises PlatformError."""
        for name in ("hyperparameters.json", "resourceconfig.json", "inputdataconfig.json"):
            if not self._config_file(name).exists():
                raise PlatformError(
                    f"{self._config_file(name)} is missing; start the image as a SageMaker job or with launch.py local"
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
        """Find out before the work, not after it, that its result could not be written."""
        for folder in (self.model, self.base / "output", self.output_data):
            probe = folder / ".write-probe"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise PlatformError(
                    f"{folder} cannot be written ({error.strerror}); mount it writable for user {os.getuid()}"
                ) from None

    def write_failure(self, error: BaseException) -> None:
        """Leave the reason where SageMaker reads it. The first one written stays: later ones are its consequences."""
        path = self._failure_file
        if path.exists():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(describe(error))
            give(path, self.model)
        except OSError as problem:
            if path.exists() and path.stat().st_size:  # another process was quicker
                return
            print(f"{path} cannot be written: {problem.strerror}", flush=True)

    def hand_over_success(self) -> None:
        """Let the toolkit's own mark of success belong to the user whose folder it lies in."""
        mark = self.base / "output" / "success"
        if mark.exists():
            give(mark, self.model)

    def failure(self) -> str | None:
        """The reason written so far."""
        return self._failure_file.read_text(encoding="utf-8") if self._failure_file.exists() else None

    @property
    def _failure_file(self) -> Path:
        return self.base / "output" / "failure"


def job_folders() -> JobFolders:
    """The contract of this process's job."""
    return JobFolders(Path(os.environ.get("SAGEMAKER_BASE_DIR", BASE)))
