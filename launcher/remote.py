"""The commands of launch.py that ask AWS: doctor, train, status, logs, attach, stop, list and download."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher import ROOT, aws, doctor, follow, inside, jobs, storage, submission
from launcher.errors import JobFailed, LostContact, Refused
from launcher.options import LOCAL_IMAGE
from launcher.signals import Aborted, StopSignals
from launcher.submission import Submission

DOWNLOADS = ROOT / "build" / "jobs"


def train(options: argparse.Namespace) -> int:
    """Upload what is not in S3 yet, start the job once, and follow it to its end."""
    job = submission.prepare(options)
    if not options.skip_checks:
        _check(options)
    if not options.skip_data_check:
        images = options.image, LOCAL_IMAGE
        inside.check_if_possible(images, submission.channel_paths(options), options.hyperparameters)
    _confirm(job, options)
    with StopSignals(Aborted):
        _upload(job)
        with _leaving(job.name, job.region, options.stop_on_interrupt):
            is_new = jobs.start(aws.client("sagemaker", job.region), job.request)
            known = "is started" if is_new else "was started before, with this very request"
            print(f"Job {job.name} {known}", flush=True)
            return _follow(job.name, job.region, options.price)


def _check(options: argparse.Namespace) -> None:
    """Run doctor's checks of AWS. Raises Refused for the first that fails, and prints the warnings."""
    for finding in doctor.examine_aws(options):
        if finding.level == doctor.FAILED:
            raise Refused(f"{finding.check}: {finding.text}")
        if finding.level == doctor.WARNING:
            print(f"{finding.check}: {finding.text}", file=sys.stderr)


def examine(options: argparse.Namespace) -> int:
    """`launch.py doctor`: all checks, one a line. Raises Refused when one failed."""
    findings = []
    for finding in doctor.examine(options):
        findings.append(finding)
        if not options.json:
            print(f"{finding.level:7}  {finding.check:13}  {finding.text}", flush=True)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    failed = sum(finding.level == doctor.FAILED for finding in findings)
    if failed:
        raise Refused(f"{failed} of {len(findings)} checks failed; each line says what to do")
    return 0


def _confirm(job: Submission, options: argparse.Namespace) -> None:
    """On a terminal, show what will be paid for and ask. Raises Refused."""
    if options.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    print(job.short_form(options.price))
    if input("Start it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("nothing was started; answer y, or give --yes, to start it")


def _upload(job: Submission) -> None:
    try:
        with aws.one_sentence():
            s3 = aws.client("s3", job.region)
            storage.require_bucket(s3, job.bucket, job.region, job.bucket_owner)
            for name, channel in job.channels.items():
                sent = storage.upload(s3, channel, job.uri(name), owner=job.bucket_owner, kms_key=job.kms_key)
                how = f"{sent:,} of {channel.size:,} bytes sent" if sent else "there already"
                print(f"{name} in {job.uri(name)}: {how}", flush=True)
    except Aborted:
        print(f"launch.py: interrupted before job {job.name} was started", file=sys.stderr)
        raise


@contextlib.contextmanager
def _leaving(name: str, region: str, stop_on_interrupt: bool) -> Iterator[None]:
    """Say what becomes of the job when we no longer follow it."""
    attach = f"`launch.py attach {name} --region {region}` follows it"
    try:
        yield
    except LostContact as error:
        raise LostContact(f"lost contact with job {name}, which goes on if it was started: {error}; {attach}") from None
    except Aborted as interrupt:
        if stop_on_interrupt:
            jobs.stop(aws.client("sagemaker", region), name)
            print(f"launch.py: job {name} is told to stop; it saves what it has first", file=sys.stderr)
        else:
            stop = f"`launch.py stop {name} --region {region}` ends it"
            print(f"launch.py: job {name} goes on if it was started; {attach}, {stop}", file=sys.stderr)
        raise interrupt


def attach(options: argparse.Namespace) -> int:
    """Follow a job to its end."""
    region = submission.region_of(options)
    with StopSignals(Aborted):
        jobs.describe(aws.client("sagemaker", region), options.job)
        with _leaving(options.job, region, options.stop_on_interrupt):
            return _follow(options.job, region, options.price)


def _follow(name: str, region: str, price: float | None) -> int:
    """Raises JobFailed when the job does not end as Completed."""
    job = follow.follow(aws.client("sagemaker", region), aws.client("logs", region), name)
    summary = jobs.summary(job, price)
    print()
    _print_summary(summary)
    if summary["status"] != "Completed":
        reason = summary.get("reason") or f"its last stage is {summary.get('stage')}"
        raise JobFailed(f"job {name} ended as {summary['status']}. {reason}")
    print(f"Job {name} is completed; `launch.py download {name} --region {region}` fetches its model")
    return 0


def _print_summary(summary: Mapping[str, Any]) -> None:
    lines = {**summary, **summary["metrics"]} if "metrics" in summary else dict(summary)
    lines.pop("metrics", None)
    if "spot_saving" in lines:
        lines["spot_saving"] = f"{lines['spot_saving']:.0%} of the training time is not billed"
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {format(value, 'g') if isinstance(value, float) else value}")


def status(options: argparse.Namespace) -> int:
    """Say how a job stands."""
    summary = jobs.summary(jobs.describe(_sagemaker(options), options.job), options.price)
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        _print_summary(summary)
    return 0


def logs(options: argparse.Namespace) -> int:
    """Print the log so far, or until the job ends."""
    region = submission.region_of(options)
    jobs.describe(_sagemaker(options), options.job)
    if options.follow:
        with StopSignals(Aborted), _leaving(options.job, region, stop_on_interrupt=False):
            follow.follow(_sagemaker(options), aws.client("logs", region), options.job)
        return 0
    with aws.one_sentence():
        for line in follow.Log(aws.client("logs", region), options.job).new_lines():
            print(line)
    return 0


def stop(options: argparse.Namespace) -> int:
    """Stop a job, and wait until it has saved what it has."""
    sagemaker = _sagemaker(options)
    jobs.stop(sagemaker, options.job)
    print(f"Job {options.job} is told to stop", flush=True)
    while not options.no_wait:
        state = jobs.describe(sagemaker, options.job)["TrainingJobStatus"]
        if state in jobs.ENDED:
            print(f"Job {options.job} is {state}")
            break
        time.sleep(follow.POLL_SECONDS)
    return 0


def list_jobs(options: argparse.Namespace) -> int:
    """List the newest jobs."""
    with aws.one_sentence():
        found = jobs.newest(_sagemaker(options), options.base_job_name, options.limit)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for job in found:
        print(f"{job['status']:10}  {job['created']}  {job['job']}")
    if not found:
        print(f"No job in {submission.region_of(options)} has {options.base_job_name} in its name", file=sys.stderr)
    return 0


def download(options: argparse.Namespace) -> int:
    """Fetch and unpack what a job left."""
    directory = options.to or DOWNLOADS / options.job
    job = jobs.describe(_sagemaker(options), options.job)
    with aws.one_sentence():
        paths = storage.download(aws.client("s3", submission.region_of(options)), job, Path(directory))
    if options.json:
        print(json.dumps(paths, indent=2))
    else:
        for name, path in paths.items():
            print(f"{name:6}  {path}")
    return 0


def _sagemaker(options: argparse.Namespace) -> Any:
    with aws.one_sentence():
        return aws.client("sagemaker", submission.region_of(options))


COMMANDS = {
    "doctor": examine,
    "train": train,
    "attach": attach,
    "status": status,
    "logs": logs,
    "stop": stop,
    "list": list_jobs,
    "download": download,
}
