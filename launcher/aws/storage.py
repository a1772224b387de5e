"""S3: uploads a job's data and downloads its model and reports."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from launcher.aws import client, jobs
from launcher.errors import Refused
from launcher.local.archives import unpack
from launcher.plan.channels import Channel
from launcher.plan.submission import Submission
from text_classifier.contract.errors import UserError


def require_bucket(s3: Any, bucket: str, region: str, owner: str | None) -> None:
    """Raise Refused unless the bucket is accessible. With `owner`, an account number, create it if it is missing.

    `owner` also prevents uploads to somebody else's bucket that has the name of the default bucket.
    """
    expected = {"ExpectedBucketOwner": owner} if owner else {}
    try:
        s3.head_bucket(Bucket=bucket, **expected)
    except ClientError as error:
        status = client.status_of(error)
        if status == 404 and owner:
            place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            s3.create_bucket(Bucket=bucket, **place)
        elif status == 404:
            raise Refused(f"the bucket {bucket} does not exist; create it, or give another --bucket") from None
        elif status == 403:
            raise Refused(
                f"the bucket {bucket} is not accessible with these credentials; give another --bucket"
            ) from None
        else:
            raise


def upload_all(s3: Any, job: Submission) -> None:
    """Upload the files of a job that S3 does not have yet, and print where each channel is. Raises Refused."""
    require_bucket(s3, job.bucket, job.region, job.bucket_owner)
    for name, channel in job.channels.items():
        sent = upload(s3, channel, job.uri(name), owner=job.bucket_owner, kms_key=job.kms_key)
        how = f"{sent:,} of {channel.size:,} bytes uploaded" if sent else "already uploaded"
        print(f"{name} in {job.uri(name)}: {how}", flush=True)


def upload(s3: Any, channel: Channel, uri: str, *, owner: str | None, kms_key: str | None) -> int:
    """Upload the files that S3 does not have yet, with a progress bar on terminals. Returns the bytes uploaded.

    S3 shows complete objects only, so an object of the right size below this content hash is the same file.
    """
    bucket, prefix = urlsplit(uri).netloc, urlsplit(uri).path.lstrip("/")
    expected = {"ExpectedBucketOwner": owner} if owner else {}
    existing = sizes(s3, bucket, prefix, **expected)
    missing = {
        prefix + name: file
        for name, file in channel.files.items()
        if existing.get(prefix + name) != file.stat().st_size
    }
    size = sum(file.stat().st_size for file in missing.values())
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    with progress(size) as bar:
        for key, file in missing.items():
            s3.upload_file(str(file), bucket, key, ExtraArgs=expected | encryption, Callback=bar.update)
    return size


def download(s3: Any, job: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """Download model.tar.gz and output.tar.gz into a new folder and unpack them there to model/ and output/.

    A download of the same job that was cut off is continued. Returns the unpacked folders by name. A failed job has no
    model, and may have no output. Raises Refused or UserError.
    """
    name, region = job["TrainingJobName"], f" --region {s3.meta.region_name}"
    if job["TrainingJobStatus"] not in jobs.ENDED:
        raise Refused(
            f"job {name} is still {job['TrainingJobStatus']}; wait for its end with `launch.py attach {name}{region}`"
        )
    unfinished = directory / _UNFINISHED
    if directory.exists() and not _is_unfinished(directory, name):
        raise UserError(f"{directory} already exists; delete it, or give another folder with --to")
    archives = {
        "model": job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "output": jobs.output_archive(job),
    }
    sizes = {part: size for part, uri in archives.items() if uri and (size := _size(s3, uri)) is not None}
    if not sizes:
        raise Refused(f"job {name} has neither a model nor output; see `launch.py logs {name}{region}`")
    directory.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(name)
    for part, size in sizes.items():
        fetch(s3, archives[part], directory / f"{part}.tar.gz", size)
        _unpack(archives[part], directory, part)
    unfinished.unlink()
    return {part: str(directory / part) for part in sizes}


#: A file in the folder of a download that has not ended, with the name of its job.
_UNFINISHED = ".unfinished-download"


def _is_unfinished(directory: Path, job: str) -> bool:
    """Whether the folder is empty, or holds an earlier download of this job that was cut off."""
    if not directory.is_dir():
        return False
    marker = directory / _UNFINISHED
    return marker.read_text() == job if marker.is_file() else not any(directory.iterdir())


def _unpack(uri: str, directory: Path, part: str) -> None:
    shutil.rmtree(directory / part, ignore_errors=True)  # what an earlier run unpacked may be a half
    archive = directory / f"{part}.tar.gz"
    try:
        unpack(archive, directory / part)
    except ValueError as error:
        archive.unlink()  # it has the right size, by which `fetch` would take it for complete
        raise Refused(f"{uri} was not unpacked: {error}; the same command downloads it again") from None


def _place(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _size(s3: Any, uri: str) -> int | None:
    """The bytes of an object. None if it does not exist."""
    try:
        return int(s3.head_object(**_place(uri))["ContentLength"])
    except ClientError as error:
        if client.status_of(error) == 404:
            return None
        raise


def sizes(s3: Any, bucket: str, prefix: str, **expected: str) -> dict[str, int]:
    """The objects whose keys begin with a prefix: bytes by key."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **expected)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def fetch(s3: Any, uri: str, file: Path, size: int) -> None:
    """Download an object, unless the whole of it is there: download_file renames a temporary file at its end."""
    if file.is_file() and file.stat().st_size == size:
        return
    with progress(size) as bar:
        s3.download_file(**_place(uri), Filename=str(file), Callback=bar.update)


def progress(size: int) -> Any:
    """A progress bar in bytes, visible on terminals only."""
    from tqdm import tqdm

    return tqdm(total=size, unit="B", unit_scale=True, disable=None, leave=False)
