"""The commands of launch.py that ask AWS: doctor, train, tune, status, logs, attach, stop, list, download."""

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

from launcher import ROOT
from launcher.aws import account, doctor, follow, jobs, storage, tuning
from launcher.aws import client as aws
from launcher.errors import JobFailed, LostContact, Refused
from launcher.local import inside
from launcher.local.engine import LOCAL_IMAGE
from launcher.plan import prices, search, submission
from launcher.plan.prices import Price
from launcher.plan.submission import Submission
from launcher.signals import Aborted, StopSignals

DOWNLOADS = ROOT / "build" / "jobs"


def train(options: argparse.Namespace) -> int:
    """Upload what is not in S3 yet, start the job once, and follow it to its end."""
    with _log_aside(options):
        return _submit(submission.prepare(options), jobs.TRAINING, options)


def tune(options: argparse.Namespace) -> int:
    """The same for a tuning job, of which each trial is a job."""
    with _log_aside(options):
        return _submit(submission.prepare(options, search.read(options)), jobs.TUNING, options)


@contextlib.contextmanager
def _log_aside(options: argparse.Namespace) -> Iterator[None]:
    """With --json stdout, kept as `options.result`, is for the result alone: all else goes to stderr."""
    options.result = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        yield


def _submit(job: Submission, kind: jobs.Kind, options: argparse.Namespace) -> int:
    if not options.skip_checks:
        _check(options, job.parallel_jobs)
    if not options.skip_data_check:
        images = options.image, LOCAL_IMAGE
        inside.check_if_possible(images, submission.channel_paths(options), options.hyperparameters)
    _confirm(job, options)
    with StopSignals(Aborted):
        _upload(job)
        with _leaving(job.name, job.region, options.stop_on_interrupt, kind):
            is_new = jobs.start(aws.client("sagemaker", job.region), job.request, kind)
            known = "is started" if is_new else "was started before, with this very request"
            print(f"{kind.noun.capitalize()} {job.name} {known}", flush=True)
            return _follow(job.name, job.region, options, kind)


def _check(options: argparse.Namespace, parallel_jobs: int) -> None:
    """Run doctor's checks of AWS. Raises Refused for the first that fails, and prints the warnings."""
    for finding in doctor.examine_aws(options, parallel_jobs):
        if finding.level == account.FAILED:
            raise Refused(f"{finding.check}: {finding.text}")
        if finding.level == account.WARNING:
            print(f"{finding.check}: {finding.text}", file=sys.stderr)


def examine(options: argparse.Namespace) -> int:
    """All checks, one a line. Raises Refused when one failed."""
    findings = doctor.report(options, prints=not options.json)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    doctor.require_health(findings)
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
def _leaving(name: str, region: str, stop_on_interrupt: bool, kind: jobs.Kind = jobs.TRAINING) -> Iterator[None]:
    """Say what becomes of the job when we no longer follow it."""
    attach = f"`launch.py attach {name} --region {region}` follows it"
    try:
        yield
    except LostContact as error:
        raise LostContact(
            f"lost contact with {kind.noun} {name}, which goes on if it was started: {error}; {attach}"
        ) from None
    except Aborted as interrupt:
        if stop_on_interrupt:
            jobs.stop(aws.client("sagemaker", region), name, kind)
            print(f"launch.py: {kind.noun} {name} is told to stop; it saves what it has first", file=sys.stderr)
        else:
            stop = f"`launch.py stop {name} --region {region}` ends it"
            print(f"launch.py: {kind.noun} {name} goes on if it was started; {attach}, {stop}", file=sys.stderr)
        raise interrupt


def attach(options: argparse.Namespace) -> int:
    """Follow a job to its end."""
    region = submission.region_of(options)
    with _log_aside(options), StopSignals(Aborted):
        kind, _ = jobs.find(aws.client("sagemaker", region), options.job)
        with _leaving(options.job, region, options.stop_on_interrupt, kind):
            return _follow(options.job, region, options, kind)


def _follow(name: str, region: str, options: argparse.Namespace, kind: jobs.Kind) -> int:
    """Raises JobFailed when the job does not end as Completed."""
    if kind is jobs.TUNING:
        return _follow_tuning(name, region, options)
    job = follow.follow(aws.client("sagemaker", region), aws.client("logs", region), name)
    summary = jobs.summary(job, _price(job["ResourceConfig"], region, options.price))
    _print_result(summary, options)
    if summary["status"] != "Completed":
        reason = summary.get("reason") or f"its last stage is {summary.get('stage')}"
        raise JobFailed(f"job {name} ended as {summary['status']}. {reason}")
    print(f"Job {name} is completed; `launch.py download {name} --region {region}` fetches its model")
    return 0


def _follow_tuning(name: str, region: str, options: argparse.Namespace) -> int:
    job, trials = tuning.watch(aws.client("sagemaker", region), name)
    summary = tuning.summary(job, trials, _price(tuning.resources_of(job), region, options.price))
    _print_result(summary, options)
    if summary["status"] != "Completed" or "best" not in summary:
        reason = summary.get("reason") or "no trial has reached the objective"
        raise JobFailed(f"tuning job {name} ended as {summary['status']}. {reason}")
    best = summary["best"]
    print(f"Tuning job {name} is completed; `launch.py download {best} --region {region}` fetches its best model")
    return 0


def _price(resources: Mapping[str, Any], region: str, given: float | None) -> Price | None:
    return prices.find(resources["InstanceType"], region, given)


def _print_result(summary: Mapping[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(summary, indent=2), file=options.result)
    else:
        print()
        _print_summary(summary)


def _print_summary(summary: Mapping[str, Any]) -> None:
    lines = {**summary, **summary["metrics"]} if "metrics" in summary else dict(summary)
    lines.pop("metrics", None)
    leaderboard = lines.pop("leaderboard", None)
    if "spot_saving" in lines:
        lines["spot_saving"] = f"{lines['spot_saving']:.0%} of the training time is not billed"
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {format(value, 'g') if isinstance(value, float) else value}")
    if leaderboard:
        print("", *tuning.table(leaderboard), sep="\n")


def status(options: argparse.Namespace) -> int:
    """Say how a job stands."""
    sagemaker, region = _sagemaker(options), submission.region_of(options)
    kind, job = jobs.find(sagemaker, options.job)
    if kind is jobs.TUNING:
        with aws.one_sentence():
            trials = tuning.with_bills(sagemaker, tuning.summaries(sagemaker, options.job))
        summary = tuning.summary(job, trials, _price(tuning.resources_of(job), region, options.price))
    else:
        summary = jobs.summary(job, _price(job["ResourceConfig"], region, options.price))
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
    kind, _ = jobs.find(sagemaker, options.job)
    jobs.stop(sagemaker, options.job, kind)
    print(f"{kind.noun.capitalize()} {options.job} is told to stop", flush=True)
    while not options.no_wait:
        state = jobs.find(sagemaker, options.job)[1][kind.status]
        if state in jobs.ENDED:
            print(f"{kind.noun.capitalize()} {options.job} is {state}")
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
        note = "  (tuning job)" if job["kind"] == jobs.TUNING.operation else ""
        print(f"{job['status']:10}  {job['created']}  {job['job']}{note}")
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
    "tune": tune,
    "attach": attach,
    "status": status,
    "logs": logs,
    "stop": stop,
    "list": list_jobs,
    "download": download,
}
