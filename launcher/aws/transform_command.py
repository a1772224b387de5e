"""launch.py transform: classify a file, or objects in S3, with batch transform."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.aws import client, jobs, transforms
from launcher.aws.console import confirm, messages_to_stderr, print_result
from launcher.aws.endpoint_commands import source_of
from launcher.aws.watch_commands import until_completed
from launcher.errors import COMPLETED, JobFailed, LostContact, Refused
from launcher.plan import checks, request, submission
from launcher.plan import transform as plan
from launcher.plan.channels import Channel, needed_files
from launcher.plan.endpoint import Source
from launcher.plan.s3 import S3Uri
from launcher.plan.transform import Transform
from launcher.signals import Aborted, StopSignals


def transform(options: argparse.Namespace) -> int:
    """Start the job exactly once, wait until it has ended, and download the scores on request."""
    with messages_to_stderr(options):
        if options.download:
            checks.new_folder("--download", options.download)
        source, job = source_of(options)
        name = options.name or request.job_name((job or "model")[:_LONGEST_BASE].rstrip("-"), datetime.now(UTC))
        channel = None if isinstance(options.data, S3Uri) else _files(options)
        wanted = _wanted(options, source, name, channel)
        if options.plan:
            return _print_plan(wanted, options)
        confirm(wanted.summary(options.price), options)
        region = wanted.region
        s3, sagemaker = client.create("s3", region), jobs.sagemaker_of(options)
        with StopSignals(Aborted), _report_detaching(name, region):
            if channel:
                transforms.upload(s3, channel, _uploaded(source, channel), options.kms_key)
            is_new = transforms.start(sagemaker, wanted)
            print(f"Transform job {name} {'started' if is_new else 'was already started'}", flush=True)
            result = until_completed(name, region, options, jobs.TRANSFORM)
            if options.download:
                result |= _download(s3, wanted, options.download)
        print_result(result, options)
    return COMPLETED


#: The name has a time stamp of 24 characters, and at most 63 in all.
_LONGEST_BASE = 39


def _files(options: argparse.Namespace) -> Channel:
    """The files of --data on this machine, after a check. Raises UserError."""
    checks.channel("--data", options.data)
    files = needed_files(options.data)
    plan.check_files(files, plan.type_of(files, options.format), options.max_payload)
    return Channel.from_files(files)


def _wanted(options: argparse.Namespace, source: Source, name: str, channel: Channel | None) -> Transform:
    if channel:
        data, names = _uploaded(source, channel), list(channel.files)
    else:
        data = options.data
        names = (
            [] if options.format else transforms.names_below(client.create("s3", submission.region_of(options)), data)
        )
    return plan.create(options, source, name, data, plan.type_of(names, options.format))


def _uploaded(source: Source, channel: Channel) -> S3Uri:
    """Where files of this content are, for all jobs."""
    return S3Uri(plan.bucket_of(source), f"transform/data/{channel.content_hash}/")


def _download(s3: Any, wanted: Transform, folder: Path) -> dict[str, Any]:
    """Download the scores, and sum them up. Raises JobFailed: the job has run."""
    try:
        found = transforms.download(s3, wanted, folder)
    except Refused as error:
        raise JobFailed(
            f"transform job {wanted.name} completed, but its scores in {wanted.output} are not downloaded: {error}"
        ) from None
    return {"folder": str(folder), "files": len(found.files), "lines": found.lines, "errors": found.errors}


def _print_plan(wanted: Transform, options: argparse.Namespace) -> int:
    if options.json:
        print(
            json.dumps({"requests": wanted.requests, "bill": wanted.bill(options.price)}, indent=2), file=options.result
        )
    else:
        print(f"{wanted.summary(options.price)}\n\n{json.dumps(wanted.requests, indent=2)}")
    return COMPLETED


@contextlib.contextmanager
def _report_detaching(name: str, region: str) -> Iterator[None]:
    """Tell the user what happens to the job when this command ends before it."""
    rest = f"the same command with --name={name} resumes, `launch.py stop {name} --region {region}` stops it"
    try:
        with client.losing_contact():
            yield
    except LostContact as error:
        raise LostContact(
            f"lost contact with transform job {name}, which keeps running if it was started: {error}; {rest}"
        ) from None
    except Aborted:
        print(f"launch.py: transform job {name} keeps running if it was started; {rest}", file=sys.stderr)
        raise


COMMANDS = {"transform": transform}
