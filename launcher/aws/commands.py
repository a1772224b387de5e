"""The commands of launch.py that use AWS: doctor, train, tune, download."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
from pathlib import Path

from launcher import ROOT
from launcher.aws import client, doctor, finding, jobs, sample, sources, storage
from launcher.aws.console import confirm, messages_to_stderr
from launcher.aws.watch_commands import follow_to_end, report_detaching
from launcher.errors import COMPLETED, Refused
from launcher.local import image_commands
from launcher.local.engine import LOCAL_IMAGE
from launcher.plan import endpoint, inputs, search, submission
from launcher.plan.submission import Submission
from launcher.signals import Aborted, StopSignals

DOWNLOADS = ROOT / "build" / "jobs"


def train(options: argparse.Namespace) -> int:
    """Upload new data, start the job exactly once, and follow it to its end."""
    # Importing the SDK takes seconds, which hashing the data and the checks in AWS take too.
    threading.Thread(target=jobs.sdk_estimators, daemon=True).start()
    with messages_to_stderr(options):
        _look(options)
        return _submit(submission.create(options), jobs.TRAINING, options)


def tune(options: argparse.Namespace) -> int:
    """Upload new data, start the tuning job exactly once, and follow it to its end."""
    with messages_to_stderr(options):
        _look(options)
        return _submit(submission.create(options, search.from_options(options)), jobs.TUNING, options)


def _look(options: argparse.Namespace) -> None:
    """List the data that is in S3, unless all checks of it are skipped."""
    if not (options.skip_checks and options.skip_data_check):
        sources.look(options)


def check_sample(options: argparse.Namespace) -> int:
    """`launch.py check` of data in S3: validate a sample of it."""
    sources.look(options)
    with sample.channels(options) as paths:
        image_commands.check(options.image, paths, options.hyperparameters)
    return COMPLETED


def _check_data(options: argparse.Namespace) -> None:
    """Validate the data in the image on this machine, if there is one; of data in S3, a sample. Raises Refused."""
    try:
        image_commands.check_if_possible(
            (options.image, LOCAL_IMAGE), lambda: sample.channels(options), options.hyperparameters
        )
    except Refused as error:
        if not inputs.s3_sources(options):
            raise
        raise Refused(
            f"{error} (in a sample of the data; if the rest differs, raise --check-rows or give --skip-data-check)"
        ) from None


def _submit(job: Submission, kind: jobs.Kind, options: argparse.Namespace) -> int:
    if not options.skip_checks:
        _check(options, job.parallel_jobs)
    if not options.skip_data_check:
        _check_data(options)
    confirm(job.summary(options.price), options)
    sagemaker = client.create("sagemaker", job.region)
    with StopSignals(Aborted):
        _upload(job)
        with report_detaching(job.name, job.region, options.stop_on_interrupt, kind):
            is_new = jobs.start(sagemaker, job.request, kind)
            state = "started" if is_new else "was already started with the same request"
            print(f"{kind.noun.capitalize()} {job.name} {state}", flush=True)
            return follow_to_end(job.name, job.region, options, kind)


def _check(options: argparse.Namespace, parallel_jobs: int) -> None:
    """Run doctor's checks of AWS and print the warnings. Raises Refused for the first failed check."""
    for found in doctor.examine_aws(options, parallel_jobs):
        if found.level == finding.FAILED:
            raise Refused(f"{found.check}: {found.text}")
        if found.level == finding.WARNING:
            print(f"WARNING: {found.check}: {found.text}", file=sys.stderr)


def examine(options: argparse.Namespace) -> int:
    """Run all checks and print one line per finding. Raises Refused if a check failed."""
    serving_types = list(dict.fromkeys((endpoint.DEFAULT_INSTANCE_TYPE, options.instance_type)))
    findings = doctor.report(options, prints=not options.json, serving_types=serving_types)
    if options.json:
        print(json.dumps([dataclasses.asdict(found) for found in findings], indent=2))
    doctor.require_health(findings)
    return COMPLETED


def _upload(job: Submission) -> None:
    try:
        storage.upload_all(client.create("s3", job.region), job)
    except Aborted:
        print(f"launch.py: interrupted before job {job.name} was started", file=sys.stderr)
        raise


def download(options: argparse.Namespace) -> int:
    """Download and unpack the results of a job."""
    directory = options.to or DOWNLOADS / options.job
    job = jobs.describe(jobs.sagemaker_of(options), options.job)
    try:
        paths = storage.download(client.create("s3", submission.region_of(options)), job, Path(directory))
    except client.FAILURES as error:
        again = "; the same command resumes" if Path(directory).exists() else ""
        raise Refused(f"{client.explain(error)}{again}") from None
    if options.json:
        print(json.dumps(paths, indent=2))
    else:
        for name, path in paths.items():
            print(f"{name:6}  {path}")
    return COMPLETED


COMMANDS = {
    "check": check_sample,
    "doctor": examine,
    "train": train,
    "tune": tune,
    "download": download,
}
