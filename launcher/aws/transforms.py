"""Batch transform jobs on SageMaker: upload the data, start exactly once, wait, and download the scores."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.aws import client, endpoints, follow, jobs, storage
from launcher.errors import JobFailed, Refused
from launcher.plan.channels import Channel
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
    with client.one_sentence():
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


def wait(sagemaker: Any, logs: Any, name: str) -> dict[str, Any]:
    """Print each status of the job until it has ended, and delete its model. Returns its description.

    Raises JobFailed, after printing the end of its log, or LostContact.
    """
    shown = None

    def poll() -> dict[str, Any] | None:
        nonlocal shown
        found = jobs.description(sagemaker, name, jobs.TRANSFORM)
        status = found["TransformJobStatus"]
        if status != shown:
            print(f"--- {status}", flush=True)
        shown = status
        return found if status in jobs.ENDED else None

    job = follow.until_ended(poll)
    try:
        endpoints.delete_model(sagemaker, name)
    except Refused as error:  # it costs nothing
        print(f"WARNING: {error}; `launch.py undeploy {name}` deletes it", file=sys.stderr)
    if job["TransformJobStatus"] != "Completed":
        follow.print_tail(follow.Log(logs, name, follow.TRANSFORM_JOBS))
        reason = job.get("FailureReason", "AWS gives no reason").rstrip(".")
        raise JobFailed(
            f"transform job {name} is {job['TransformJobStatus']}. {reason}; to try again, give another --name"
        )
    return job


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
