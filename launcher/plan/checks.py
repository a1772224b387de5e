"""Checks of settings before anything starts. Each raises UserError: one sentence with the remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from launcher.plan import instances
from launcher.plan.channels import files_of, needed_files
from launcher.plan.request import MAX_TUNING_NAME, partition_of, region_of_image
from launcher.plan.s3 import BUCKET
from text_classifier.contract.errors import UserError
from text_classifier.contract.sagemaker import GPU_FAMILIES

_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_BASE_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,38}-*")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]+")
_ASSUMED_ROLE = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.*")
_IMAGE = re.compile(r"(?P<name>[^\s@]+?)(:(?P<tag>[\w][\w.-]{0,127})|@sha256:[0-9a-f]{64})")
_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-\d+")
_INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")

_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,511}")

#: 1,024 bytes of a key in S3, less those of our prefix.
_MAX_KEY_BYTES = 900

INPUT_MODES = ("File", "FastFile")
DISTRIBUTIONS = ("FullyReplicated", "ShardedByS3Key")
MAX_KEEP_ALIVE_SECONDS = 3600


def job_name(name: str) -> None:
    """Reject what CreateTrainingJob rejects as TrainingJobName."""
    if not _JOB_NAME.fullmatch(name):
        raise UserError(
            f"job name {name!r} is not allowed; use up to 63 letters, digits and hyphens, "
            "and begin and end with a letter or a digit"
        )


def base_job_name(name: str) -> None:
    """Reject what would make no job name together with the time, of 24 characters."""
    if not _BASE_JOB_NAME.fullmatch(name) or len(name) > 39:
        raise UserError(
            f"--base-job-name {name!r} is not allowed; use up to 39 letters, digits and hyphens, and begin with a "
            "letter or a digit"
        )


def tuning_job_name(name: str) -> None:
    """Reject what CreateHyperParameterTuningJob rejects as HyperParameterTuningJobName."""
    job_name(name)
    if len(name) > MAX_TUNING_NAME:
        raise UserError(f"job name {name!r} is too long for a tuning job; use at most {MAX_TUNING_NAME} characters")


def role(arn: str) -> None:
    """Reject anything but the ARN of a role."""
    if not _ROLE.fullmatch(arn):
        found = _ASSUMED_ROLE.fullmatch(arn)
        meant = "arn:{}:iam::{}:role/{}".format(*found.groups()) if found else "arn:aws:iam::123456789012:role/my-role"
        raise UserError(f"--role {arn!r} is not the ARN of a role; give the full ARN, as in {meant}")


def image_region(image: str, region: str) -> None:
    """Reject an image in another region, which SageMaker does not take."""
    there = region_of_image(image)
    if there and there != region:
        raise UserError(
            f"--image is in {there}, but the job runs in {region}, and SageMaker pulls images from its own region "
            f"only; push it to {region}, or train with --region {there}"
        )


def role_partition(role: str, region: str) -> None:
    """Reject a role in another partition of AWS than the region."""
    partition = role.split(":")[1]
    if partition != partition_of(region):
        raise UserError(
            f"--role {role} is in the partition {partition}, but {region} is in {partition_of(region)}; give a role "
            "there, or correct --region"
        )


def pinned_image(image: str) -> None:
    """Reject an image with neither tag nor digest, and one that is not in a registry."""
    match = _IMAGE.fullmatch(image)
    if problem := _misspelled(image):
        raise UserError(f"--image {image!r} {problem}; use the URI that `./build_and_push.sh push` prints")
    if match is None or match["tag"] == "latest":
        raise UserError(
            f"--image {image!r} has no tag or digest (`latest` does not count); use the "
            "URI that `./build_and_push.sh push` prints"
        )
    registry, _, _ = match["name"].partition("/")
    if registry == match["name"] or not set(".:") & set(registry):
        raise UserError(
            f"--image {image!r} exists on this machine only; push it with `make push` and use the URI that it prints"
        )


def _misspelled(image: str) -> str | None:
    """What is wrong with an image's name or digest."""
    name, at, digest = image.partition("@")
    host, _, path = name.partition("/")
    if "://" in image:
        return "is a URL, and an image is named without https://"
    if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return "has a digest that is not sha256: and 64 hexadecimal digits"
    if at and ":" in path:
        return "has a tag and a digest, of which SageMaker takes one"
    if re.search(r"[A-Z]", host + path.partition(":")[0]):
        return "has capital letters in its name, which registries refuse"
    return None


def region(name: str) -> None:
    """Reject what is not the name of a region."""
    if not _REGION.fullmatch(name):
        raise UserError(f"region {name!r} is not the name of an AWS region; write it like eu-west-1")


def bucket(name: str) -> None:
    """Reject what is not the name of a bucket."""
    if not BUCKET.fullmatch(name):
        raise UserError(
            f"--bucket {name!r} is not the name of a bucket; give the name only, without s3:// and without a path"
        )


def instance_type(name: str) -> None:
    """Reject what is not a SageMaker instance type, and GPUs that the image's CUDA does not support."""
    if not _INSTANCE_TYPE.fullmatch(name):
        here = "; to train on this machine, use `launch.py local`" if name.startswith("local") else ""
        raise UserError(f"--instance-type {name!r} is not a SageMaker instance type; write it like ml.g5.xlarge{here}")
    if name.startswith(("ml.trn", "ml.inf")):
        raise UserError(
            f"--instance-type {name} has AWS's own accelerators, which the image cannot use; use an instance of "
            f"{GPU_FAMILIES}"
        )
    family = instances.family(name)
    if family and not family.is_supported:
        raise UserError(
            f"--instance-type {name} has {family.gpu} GPUs, which the image's CUDA 13 no longer supports; "
            f"use an instance of {GPU_FAMILIES}"
        )


def spot_wait(max_wait_seconds: int, max_run_seconds: int) -> None:
    """Reject what CreateTrainingJob rejects: the maximum wait includes the run."""
    if max_wait_seconds < max_run_seconds:
        raise UserError(
            f"--max-wait {max_wait_seconds} is shorter than --max-run {max_run_seconds}; it includes both "
            "waiting for spot instances and running, so raise it"
        )


def keep_alive(seconds: int, is_spot: bool) -> None:
    """Reject what CreateTrainingJob rejects for a warm pool."""
    if is_spot:
        raise UserError(
            "--keep-alive cannot be combined with --spot: spot instances cannot be kept; remove one of the two"
        )
    if seconds > MAX_KEEP_ALIVE_SECONDS:
        raise UserError(f"--keep-alive {seconds} is too long; the maximum is {MAX_KEEP_ALIVE_SECONDS} seconds")


def input_mode(mode: str) -> None:
    """Reject unknown input modes, and Pipe, which the training code does not support."""
    if mode not in INPUT_MODES:
        raise UserError(f"--input-mode {mode!r} is not supported; use {' or '.join(INPUT_MODES)}")


def distribution(name: str) -> None:
    """Reject unknown ways to distribute the training data to the hosts."""
    if name not in DISTRIBUTIONS:
        raise UserError(f"--distribution {name!r} is not supported; use {' or '.join(DISTRIBUTIONS)}")


def network(subnets: Sequence[str], groups: Sequence[str], is_isolated: bool, has_model: bool) -> None:
    """Reject an incomplete VPC, and an isolated job that would have to download its model."""
    if bool(subnets) != bool(groups):
        given, missing = ("--subnet", "--security-group") if subnets else ("--security-group", "--subnet")
        raise UserError(f"{given} is given without {missing}; a job in your VPC needs both")
    if is_isolated and not has_model:
        raise UserError(
            "--network-isolation keeps the job from the Hugging Face hub; give the model's folder with --model"
        )


def volume_key(key: str | None, instance_type: str) -> None:
    """Reject a key for the disk of an instance with a local disk, which is always encrypted."""
    family = instances.family(instance_type)
    if key and family and family.has_local_disk:
        raise UserError(
            f"--volume-kms-key cannot be used with {instance_type}, whose local disk is always encrypted; remove it"
        )


def environment(names: Iterable[str]) -> None:
    """Reject what is not the name of an environment variable."""
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise UserError(
                f"--environment {name!r} is not the name of an environment variable; use letters, digits and _"
            )


def no_duplicates(flag: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Reject a name that is given twice: the last value would win in silence."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{flag} {name} is given twice; remove one of the two")


def parse_hyperparameters(words: Iterable[str]) -> dict[str, str]:
    """Parse `name=value` words. Raises UserError for anything else, and for a name given twice."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            several = "; --data takes one path: put several files into a folder" if Path(word).exists() else ""
            raise UserError(
                f"{word!r} is neither a flag nor a hyperparameter; write hyperparameters as name=value{several}"
            )
        if name in values:
            raise UserError(f"hyperparameter {name!r} is given twice; remove one of the two")
        values[name] = value
    return values


def channel(flag: str, path: Path) -> None:
    """Reject a data path that does not exist, has no file with rows, or has one that cannot be read."""
    if not path.exists():
        raise UserError(f"{flag} {path} does not exist; give a file or a folder on this machine")
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{flag} {path} is a pipe or a device; write its rows to a file")
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{flag}: the file {path} is empty; put rows into it")
    files = needed_files(path)
    if not files:
        raise UserError(f"{flag} {path} contains no files with rows; give a file, or a folder with at least one")
    unreadable = next((file for file in files.values() if not os.access(file, os.R_OK)), None)
    if unreadable:
        raise UserError(f"{flag}: the file {unreadable} cannot be read; change its permissions")


def file_names(flag: str, path: Path) -> None:
    """Reject what S3 does not take as a key: names that are not UTF-8, and long ones."""
    for name in files_of(path):
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode(errors="backslashreplace")
            raise UserError(
                f"{flag}: the file '{shown}' has a name that is not UTF-8, which S3 does not take; rename it"
            ) from None
        if size > _MAX_KEY_BYTES:
            raise UserError(f"{flag}: the name of the file {name[:60]}... is too long for S3; rename it")


def new_folder(flag: str, path: Path) -> None:
    """Reject a path that is a file, or below one."""
    found = next(each for each in (path, *path.parents) if each.exists())
    if not found.is_dir():
        raise UserError(f"{flag} {path} cannot be a folder: {found} is a file; give another path")


def model_directory(path: Path) -> None:
    """Reject a path that is neither an archive, nor a folder written by save_pretrained, or with checkpoints or one."""
    _require_existing("--model", path)
    if path.is_file() and path.name.endswith(".tar.gz"):
        return
    if not any(next(path.rglob(pattern), None) for pattern in ("config.json", "*.tar.gz")):
        raise UserError(
            f"--model {path} is not a model folder: it has no config.json; "
            "give a folder written by save_pretrained or a job's model.tar.gz, or a model of the Hugging Face hub with "
            "model_name=..."
        )


def _require_existing(flag: str, path: Path) -> None:
    if not path.exists():
        raise UserError(f"{flag} {path} does not exist; give a path on this machine")


def unpacked_model(path: Path, flag: str = "--model") -> None:
    """Reject a path that is not an unpacked model.tar.gz, and name the folder nearby that is one."""
    if (path / "config.json").is_file():
        return
    _require_existing(flag, path)
    if path.is_file() and path.name.endswith(".tar.gz"):
        raise UserError(
            f"{flag} {path} is an archive; unpack it (mkdir -p model && tar -xzf {path} -C model) and give model"
        )
    nearby = [folder for folder in (path / "model", path.parent / "model") if (folder / "config.json").is_file()]
    if nearby:
        raise UserError(f"{flag} {path} has no config.json; the model is in {nearby[0]}")
    raise UserError(
        f"{flag} {path} is not an unpacked model: it has no config.json; give the folder model/ of a job, as "
        "`launch.py download` and `local` leave it"
    )


def parse_assignment(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value
