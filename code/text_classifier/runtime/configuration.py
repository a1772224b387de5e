"""SageMaker's configuration files of a job, read and checked: hyperparameters, channels and hosts.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import PlatformError, SettingsError, printable
from text_classifier.contract.sagemaker import FOREIGN_CHANNELS
from text_classifier.runtime import toolkit

#: Prefixes of the names that SageMaker's tuning and the SDK add to the hyperparameters; these are not checked.
_FOREIGN_PREFIXES = ("sagemaker_", "_tuning_")
#: The hyperparameter that SageMaker adds to each trial of a tuning job.
_TRIAL_MARK = "_tuning_objective_metric"

_HYPERPARAMETERS = "hyperparameters.json"
_CHANNELS = "inputdataconfig.json"
_RESOURCES = "resourceconfig.json"

#: Bytes of a hyperparameter. Linux limits an argument of a process to 131,072.
_MOST_BYTES = 100_000


@dataclass(frozen=True)
class Configuration:
    """The configuration files in `folder`. Outside a job they may be missing, and are then empty.

    Every method raises PlatformError for a file that cannot be read or does not hold what SageMaker writes.
    """

    folder: Path

    def require(self) -> None:
        """Raise PlatformError for a missing or malformed file, SettingsError for a value that cannot be passed on."""
        for name in (_HYPERPARAMETERS, _RESOURCES, _CHANNELS):
            if not (self.folder / name).exists():
                raise PlatformError(
                    f"{self.folder / name} is missing; run the image as a SageMaker job or with launch.py local"
                )
        self.resources()
        self.channels()
        for name, text in self.hyperparameters().items():
            _require_passable(name, text)
            _require_passable(name, toolkit.text(text))  # a script gets it without JSON's quotes and escapes

    def hyperparameters(self) -> dict[str, str]:
        """The job's hyperparameters as strings, without those that the SDK and SageMaker's tuning add."""
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self.all_hyperparameters().items()
            if not name.startswith(_FOREIGN_PREFIXES)
        }

    def all_hyperparameters(self) -> dict[str, Any]:
        """The content of hyperparameters.json. SageMaker writes strings, other callers any JSON."""
        return self._read(_HYPERPARAMETERS)

    @property
    def is_trial(self) -> bool:
        """Whether the job is a trial of a tuning job."""
        return _TRIAL_MARK in self.all_hyperparameters()

    def channels(self) -> dict[str, dict[str, Any]]:
        """How each channel of the request is provided: TrainingInputMode, S3DistributionType and so on."""
        channels = self._read(_CHANNELS)
        for name, channel in channels.items():
            if not isinstance(channel, dict):
                raise self._malformed(_CHANNELS, f"no object under {name!r}")
        return channels

    def sharded_channels(self) -> list[str]:
        """The channels with S3DistributionType=ShardedByS3Key; none when there is one host."""
        if len(self.resources().get("hosts", [])) < 2:
            return []
        return [name for name, how in self.channels().items() if how.get("S3DistributionType") == "ShardedByS3Key"]

    def require_readable_channels(self) -> None:
        """Raise SettingsError for a channel that does not come as files, and for a model in parts."""
        for name, how in self.channels().items():
            if name in FOREIGN_CHANNELS:
                continue
            if _is_augmented_manifest(how):
                raise SettingsError(
                    f"the channel {name!r} is an augmented manifest, which is not supported; write its rows as JSON "
                    "lines, and give them as S3Prefix"
                )
            if how.get("TrainingInputMode") == "Pipe":
                raise SettingsError(
                    f"the channel {name!r} comes in Pipe mode, which is not supported; use File or FastFile"
                )
        if "model" in self.sharded_channels():
            raise SettingsError(
                "the channel 'model' is sharded by S3 key, so that each host has a part of the model; use "
                "S3DistributionType FullyReplicated"
            )

    def resources(self) -> dict[str, Any]:
        """The content of resourceconfig.json without nulls: current_host, hosts, network_interface_name and so on."""
        if not (self.folder / _RESOURCES).exists():
            return {}
        resources = {name: value for name, value in self._read(_RESOURCES).items() if value is not None}
        if problem := _problem(resources):
            raise self._malformed(_RESOURCES, problem)
        return resources

    def _malformed(self, name: str, problem: str) -> PlatformError:
        return PlatformError(f"{self.folder / name} has {printable(problem)}; start the job again")

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_bytes())  # bytes: UTF-8, UTF-16 or UTF-32, with a byte order mark or without
        except (OSError, ValueError, RecursionError) as error:
            raise PlatformError(f"{path} cannot be read ({error}); start the job again") from None
        if not isinstance(content, dict):
            raise PlatformError(f"{path} does not hold a JSON object; start the job again")
        return content


def _is_augmented_manifest(how: Mapping[str, Any]) -> bool:
    return how.get("S3DataType") == "AugmentedManifestFile" or "AttributeNames" in how


def _require_passable(name: str, text: str) -> None:
    """Raise SettingsError where the kernel would not take the text as an argument of a process."""
    try:
        size = len((name + text).encode())
    except UnicodeEncodeError:
        raise SettingsError(f"hyperparameter {name!r} has an unpaired surrogate; remove it") from None
    if "\0" in name + text:
        raise SettingsError(f"hyperparameter {name!r} holds a NUL character; remove it")
    if size > _MOST_BYTES:
        raise SettingsError(f"hyperparameter {name[:100]!r} has {size:,} bytes; shorten it to {_MOST_BYTES:,}")


def _problem(resources: Mapping[str, Any]) -> str | None:
    """What is wrong with the content of resourceconfig.json, as in "no list of names under 'hosts'"."""
    hosts = resources.get("hosts")
    if not _are_names(hosts):
        return "no list of names under 'hosts'"
    assert isinstance(hosts, list)
    if len(set(hosts)) < len(hosts):
        return "the same name twice under 'hosts'"
    if resources.get("current_host") not in hosts:
        return "no name under 'current_host' that is one of 'hosts'"
    for name in ("network_interface_name", "current_instance_type", "current_group_name"):
        if not isinstance(resources.get(name, ""), str):
            return f"no text under {name!r}"
    groups = resources.get("instance_groups", [])
    is_complete = isinstance(groups, list) and all(map(_is_group, groups))
    return None if is_complete else "no list of groups, each with a name and hosts, under 'instance_groups'"


def _is_group(group: object) -> bool:
    return (
        isinstance(group, dict)
        and isinstance(group.get("instance_group_name"), str)
        and isinstance(group.get("instance_type"), str | None)
        and _are_names(group.get("hosts"))
    )


def _are_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) and name for name in value)
