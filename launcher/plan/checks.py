"""Mistakes seen before anything starts. Each ends in a UserError: one sentence with the remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from launcher.plan.request import MAX_TUNING_NAME
from text_classifier.contract.errors import UserError

_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9+=,.@_/-]+")
_IMAGE = re.compile(r"(?P<name>[^\s@]+?)(:(?P<tag>[\w][\w.-]{0,127})|@sha256:[0-9a-f]{64})")
_REGION = re.compile(r"[a-z]{2,3}(-[a-z]+)+-\d+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_INSTANCE_TYPE = re.compile(r"ml\.(?P<family>[a-z0-9-]+)\.[a-z0-9]+")

_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,511}")

INPUT_MODES = ("File", "FastFile")
MAX_KEEP_ALIVE_SECONDS = 3600

#: Instance families with disks of their own, for which AWS takes no VolumeKmsKeyId.
_LOCAL_DISKS = ("g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en")

#: Instance families whose GPUs the CUDA of the image (13) no longer knows.
_GPUS_TOO_OLD = {"p2": "K80", "p3": "V100", "p3dn": "V100"}


def job_name(name: str) -> None:
    """Refuse what CreateTrainingJob refuses as TrainingJobName."""
    if not _JOB_NAME.fullmatch(name):
        raise UserError(
            f"job name {name!r} is not allowed; use up to 63 letters, digits and hyphens, "
            "and begin and end with a letter or a digit"
        )


def tuning_job_name(name: str) -> None:
    """Refuse what CreateHyperParameterTuningJob refuses as HyperParameterTuningJobName."""
    job_name(name)
    if len(name) > MAX_TUNING_NAME:
        raise UserError(f"job name {name!r} is too long for a tuning job; use at most {MAX_TUNING_NAME} characters")


def role(arn: str) -> None:
    """Refuse anything but the ARN of a role."""
    if not _ROLE.fullmatch(arn):
        raise UserError(
            f"--role {arn!r} is not the ARN of a role; give it in full, as arn:aws:iam::123456789012:role/my-role"
        )


def pinned_image(image: str) -> None:
    """Refuse an image that has neither tag nor digest, and one that no registry holds."""
    match = _IMAGE.fullmatch(image)
    if match is None or match["tag"] == "latest":
        raise UserError(
            f"--image {image!r} does not say which version; name it by tag or digest, "
            "as the last line of `./build_and_push.sh push` does"
        )
    registry, _, _ = match["name"].partition("/")
    if registry == match["name"] or not set(".:") & set(registry):
        raise UserError(
            f"--image {image!r} lies on this machine only; push it with `make push` and give the URI that this prints"
        )


def region(name: str) -> None:
    """Refuse what cannot be the name of a region."""
    if not _REGION.fullmatch(name):
        raise UserError(f"region {name!r} is not the name of an AWS region; write it as eu-west-1")


def bucket(name: str) -> None:
    """Refuse what cannot be the name of a bucket."""
    if not _BUCKET.fullmatch(name):
        raise UserError(f"--bucket {name!r} is not the name of a bucket; give the bare name, without s3:// or a path")


def instance_type(name: str) -> None:
    """Refuse what is no SageMaker instance type, and GPUs that the image's CUDA cannot use."""
    match = _INSTANCE_TYPE.fullmatch(name)
    if match is None:
        raise UserError(f"--instance-type {name!r} is not a SageMaker instance type; write it as ml.g5.xlarge")
    gpu = _GPUS_TOO_OLD.get(match["family"])
    if gpu:
        raise UserError(
            f"--instance-type {name} has {gpu} GPUs, which the image's CUDA 13 no longer supports; "
            "take one of the families ml.g4dn, ml.g5, ml.g6, ml.p4d or ml.p5"
        )


def spot_wait(max_wait_seconds: int, max_run_seconds: int) -> None:
    """Refuse what CreateTrainingJob refuses: the wait takes in the run."""
    if max_wait_seconds < max_run_seconds:
        raise UserError(
            f"--max-wait {max_wait_seconds} is shorter than --max-run {max_run_seconds}; it counts waiting for spot "
            "instances and running together, so make it longer"
        )


def keep_alive(seconds: int, is_spot: bool) -> None:
    """Refuse what CreateTrainingJob refuses of a warm pool."""
    if is_spot:
        raise UserError("--keep-alive does not go with --spot: spot instances are not kept; leave one of them out")
    if seconds > MAX_KEEP_ALIVE_SECONDS:
        raise UserError(f"--keep-alive {seconds} is too long; give at most {MAX_KEEP_ALIVE_SECONDS} seconds")


def input_mode(mode: str) -> None:
    """Refuse what is no input mode, and Pipe, which the training code does not read."""
    if mode not in INPUT_MODES:
        raise UserError(f"--input-mode {mode!r} is not supported; take {' or '.join(INPUT_MODES)}")


def network(subnets: Sequence[str], groups: Sequence[str], is_isolated: bool, has_model: bool) -> None:
    """Refuse half a VPC, and a job that would look for its model on a network it does not have."""
    if bool(subnets) != bool(groups):
        given, missing = ("--subnet", "--security-group") if subnets else ("--security-group", "--subnet")
        raise UserError(f"{given} is given without {missing}; a job in your VPC needs both")
    if is_isolated and not has_model:
        raise UserError(
            "--network-isolation leaves the job no way to the Hugging Face hub; give the model's folder with --model"
        )


def volume_key(key: str | None, instance: str) -> None:
    """Refuse a key for the disk of an instance that brings its own, encrypted one."""
    if key and instance.split(".")[1] in _LOCAL_DISKS:
        raise UserError(
            f"--volume-kms-key cannot be used with {instance}, whose own disk is always encrypted; leave it out"
        )


def environment(names: Iterable[str]) -> None:
    """Refuse what cannot be the name of an environment variable."""
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise UserError(f"--environment {name!r} is not a name of letters, digits and _; rename it")


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Read `name=value` words. Raises UserError for anything else, and for a name given twice."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UserError(f"{word!r} is neither a flag nor a hyperparameter; write hyperparameters as name=value")
        if name in values:
            raise UserError(f"hyperparameter {name!r} is given twice; keep one of them")
        values[name] = value
    return values


def channel(flag: str, path: Path) -> None:
    """Refuse a data path that does not exist or holds nothing."""
    if not path.exists():
        raise UserError(f"{flag} {path} does not exist; give a file, or a folder of files, on this machine")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    if not files:
        raise UserError(f"{flag} {path} holds no files; give a file, or a folder with at least one")
    unreadable = next((file for file in files if not os.access(file, os.R_OK)), None)
    if unreadable:
        raise UserError(f"{flag}: the file {unreadable} cannot be read; change its permissions")
    empty = next((file for file in files if file.stat().st_size == 0), None)
    if empty:
        raise UserError(f"{flag}: the file {empty} is empty; fill or remove it")


def model_directory(path: Path) -> None:
    """Refuse a path that is not a model as transformers saves it."""
    if not (path / "config.json").is_file():
        raise UserError(
            f"--model {path} is not a model directory, which holds a config.json; "
            "give the folder that save_pretrained wrote, or name a hub model with model_name=..."
        )


def pair(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value
