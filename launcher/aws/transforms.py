"""Batch transform jobs on SageMaker: upload the data, start exactly once, sum up, and download the scores."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.aws import client, endpoints, jobs, storage
from launcher.errors import Refused
from launcher.plan.channels import Channel
from launcher.plan.prices import Price
from launcher.plan.s3 import S3Uri
from launcher.plan.transform import CSV, Transform

#: What SageMaker appends to the name of a file of records in that of its scores.
_SUFFIX = ".out"


@dataclass(frozen=True)
class Downloaded:
    """Files of scores, with the number of their lines, and how many of these are errors."""

    files: tuple[Path, ...]
    lines: int
    errors: int


def names_below(s3: Any, uri: S3Uri) -> list[str]:
    """The keys of the objects whose keys begin with that of the URI. Raises Refused if there is none."""
    found = [key for key in storage.sizes(s3, uri.bucket, uri.key) if not key.endswith("/")]
    if not found:
        raise Refused(f"--data {uri} has no objects; correct the URI")
    return found


def upload(s3: Any, channel: Channel, uri: S3Uri, kms_key: str | None) -> None:
    """Upload the files that S3 does not have yet. Raises Refused."""
    with client.one_sentence():
        sent = storage.upload(s3, channel, str(uri), owner=None, kms_key=kms_key)
    print(f"data in {uri}: {f'{sent:,} bytes uploaded' if sent else 'already uploaded'}", flush=True)


def start(sagemaker: Any, transform: Transform) -> bool:
    """Create the model and the job. Returns False if the job already exists with the same request.

    Raises Refused, with nothing left of what this call created, or LostContact.
    """
    is_new = jobs.start(sagemaker, transform.model, endpoints.MODEL)
    try:
        with client.one_sentence():
            # AWS recommends to read it before a request refers to it: its reads are eventually consistent.
            jobs.description(sagemaker, transform.name, endpoints.MODEL)
        return jobs.start(sagemaker, transform.job, jobs.TRANSFORM)
    except Refused as reason:
        if is_new:
            with _adding(reason):
                endpoints.delete_model(sagemaker, transform.name)
        raise


@contextlib.contextmanager
def _adding(reason: Refused) -> Iterator[None]:
    """Add what else is refused to the reason."""
    try:
        yield
    except Refused as rest:
        raise Refused(f"{reason}; {rest}") from None


def delete_model_of(sagemaker: Any, job: Mapping[str, Any]) -> None:
    """Delete the model that `start` created for the job; one that cannot be deleted costs nothing, and is named."""
    name = job["TransformJobName"]
    if job["ModelName"] != name:
        return
    try:
        endpoints.delete_own_model(sagemaker, name)
    except Refused as error:
        again = f"`launch.py undeploy {name} --region {sagemaker.meta.region_name}`"
        print(f"WARNING: {error}; {again} deletes it", file=sys.stderr)


def summary(job: Mapping[str, Any], price: Price | None) -> dict[str, Any]:
    """The state of a transform job as data, without empty values. Times are ISO 8601.

    AWS bills each instance from the start to the end.
    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTransformJob.html
    """
    resources = job["TransformResources"]
    started, ended = job.get("TransformStartTime"), job.get("TransformEndTime")
    seconds = round((ended - started).total_seconds()) if started and ended else None
    values = {
        "transform": job["TransformJobName"],
        "status": job["TransformJobStatus"],
        "reason": job.get("FailureReason"),
        "created": jobs.iso_time(job.get("CreationTime")),
        "started": jobs.iso_time(started),
        "ended": jobs.iso_time(ended),
        "instances": f"{resources['InstanceCount']} {resources['InstanceType']}",
        "billable_seconds": seconds,
        "cost": None if price is None or seconds is None else price.cost(seconds, resources["InstanceCount"]),
        "price": None if price is None or seconds is None else f"{price.per_hour:g} per hour ({price.source})",
        "model": job["ModelName"],
        "data": job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"],
        "scores": job["TransformOutput"]["S3OutputPath"],
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


def download(s3: Any, transform: Transform, folder: Path) -> Downloaded:
    """Download the scores into a folder; what it has already is not loaded again. Raises Refused."""
    uri = S3Uri(*transform.output.removeprefix("s3://").split("/", 1))
    is_csv = transform.job["TransformOutput"]["Accept"] == CSV
    with client.one_sentence():
        sizes = storage.sizes(s3, uri.bucket, uri.key)
        files = {key: folder / key.removeprefix(uri.key) for key in sorted(sizes) if key.endswith(_SUFFIX)}
        for key, file in files.items():
            if ".." in file.relative_to(folder).parts:
                raise Refused(f"s3://{uri.bucket}/{key} would be written outside of {folder}; give another --output")
            if file.exists() and file.stat().st_size != sizes[key]:
                raise Refused(f"{file} exists with other content; give another folder with --download")
        for key, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(s3, f"s3://{uri.bucket}/{key}", file, sizes[key])
    lines = errors = 0
    for file in files.values():
        with file.open("rb") as content:
            for line in content:
                lines, errors = lines + 1, errors + _is_error(line, is_csv)
    return Downloaded(tuple(files.values()), lines, errors)


def _is_error(line: bytes, is_csv: bool) -> bool:
    """Whether the server marks a bad record by this line."""
    return line.rstrip() == b"ERROR" if is_csv else line.startswith(b'{"error":')
