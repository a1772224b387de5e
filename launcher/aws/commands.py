"""The commands of launch.py that use AWS: doctor, train, tune, status, logs, attach, stop, list, download."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher import ROOT
from launcher.aws import client, doctor, finding, follow, jobs, sample, sources, storage, tuning
from launcher.errors import COMPLETED, JobFailed, LostContact, Refused
from launcher.local import image_commands
from launcher.local.engine import LOCAL_IMAGE
from launcher.plan import endpoint, inputs, prices, search, submission
from launcher.plan.prices import Price
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
    with client.one_sentence(), sample.channels(options) as paths:
        image_commands.check(options.image, paths, options.hyperparameters)
    return COMPLETED


def _check_data(options: argparse.Namespace) -> None:
    """Validate the data in the image on this machine, if there is one; of data in S3, a sample. Raises Refused."""
    try:
        with client.one_sentence():
            image_commands.check_if_possible(
                (options.image, LOCAL_IMAGE), lambda: sample.channels(options), options.hyperparameters
            )
    except Refused as error:
        if not inputs.s3_sources(options):
            raise
        raise Refused(
            f"{error} (in a sample of the data; if the rest differs, raise --check-rows or give --skip-data-check)"
        ) from None


@contextlib.contextmanager
def messages_to_stderr(options: argparse.Namespace) -> Iterator[None]:
    """With --json, print everything but the result on stderr. Keeps stdout as `options.result`."""
    options.result = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        yield


def _submit(job: Submission, kind: jobs.Kind, options: argparse.Namespace) -> int:
    if not options.skip_checks:
        _check(options, job.parallel_jobs)
    if not options.skip_data_check:
        _check_data(options)
    confirm(job.summary(options.price), options)
    with StopSignals(Aborted):
        _upload(job)
        with _report_detaching(job.name, job.region, options.stop_on_interrupt, kind):
            is_new = jobs.start(client.create("sagemaker", job.region), job.request, kind)
            state = "started" if is_new else "was already started with the same request"
            print(f"{kind.noun.capitalize()} {job.name} {state}", flush=True)
            return _follow(job.name, job.region, options, kind)


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


def confirm(summary: str, options: argparse.Namespace) -> None:
    """On a terminal, show what will be created at which cost, and ask. Raises Refused."""
    if options.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    print(summary)
    if input("Start it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("nothing was started; answer y or give --yes to start it")


def _upload(job: Submission) -> None:
    try:
        with client.one_sentence():
            storage.upload_all(client.create("s3", job.region), job)
    except Aborted:
        print(f"launch.py: interrupted before job {job.name} was started", file=sys.stderr)
        raise


@contextlib.contextmanager
def _report_detaching(
    name: str, region: str, stop_on_interrupt: bool, kind: jobs.Kind = jobs.TRAINING
) -> Iterator[None]:
    """Tell the user what happens to the job when this command ends before it."""
    attach = f"`launch.py attach {name} --region {region}` follows it"
    try:
        yield
    except LostContact as error:
        raise LostContact(
            f"lost contact with {kind.noun} {name}, which keeps running if it was started: {error}; {attach}"
        ) from None
    except Aborted as interrupt:
        if stop_on_interrupt:
            jobs.stop(client.create("sagemaker", region), name, kind)
            print(f"launch.py: stop requested for {kind.noun} {name}; the job saves its state first", file=sys.stderr)
        else:
            stop = f"`launch.py stop {name} --region {region}` stops it"
            print(f"launch.py: {kind.noun} {name} keeps running if it was started; {attach}, {stop}", file=sys.stderr)
        raise interrupt


def attach(options: argparse.Namespace) -> int:
    """Follow a job to its end."""
    region = submission.region_of(options)
    with messages_to_stderr(options), StopSignals(Aborted):
        kind, _ = jobs.find(client.create("sagemaker", region), options.job)
        with _report_detaching(options.job, region, options.stop_on_interrupt, kind):
            return _follow(options.job, region, options, kind)


def _follow(name: str, region: str, options: argparse.Namespace, kind: jobs.Kind) -> int:
    """Follow a job to its end and print its summary. Raises JobFailed unless it completed."""
    if kind is jobs.TUNING:
        return _follow_tuning(name, region, options)
    job = follow.follow(client.create("sagemaker", region), client.create("logs", region), name)
    summary = jobs.summary(job, _price(job["ResourceConfig"], region, options.price))
    print_result(summary, options)
    if summary["status"] != "Completed":
        reason = summary.get("reason") or f"The last stage was {summary.get('stage')}"
        raise JobFailed(f"job {name} ended with status {summary['status']}. {reason}")
    print(f"Job {name} completed; `launch.py download {name} --region {region}` downloads its model")
    return COMPLETED


def _follow_tuning(name: str, region: str, options: argparse.Namespace) -> int:
    job, trials = tuning.watch(client.create("sagemaker", region), name)
    summary = tuning.summary(job, trials, _price(tuning.resources_of(job), region, options.price))
    print_result(summary, options)
    if summary["status"] != "Completed" or "best" not in summary:
        reason = summary.get("reason") or "No trial reported the objective metric"
        raise JobFailed(f"tuning job {name} ended with status {summary['status']}. {reason}")
    best = summary["best"]
    print(f"Tuning job {name} completed; `launch.py download {best} --region {region}` downloads the best model")
    return COMPLETED


def _price(resources: Mapping[str, Any], region: str, given: float | None) -> Price | None:
    return prices.find(resources["InstanceType"], region, given)


def print_result(summary: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print a summary; with --json, on the stdout that `messages_to_stderr` has kept."""
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
    """Show the status of a job."""
    sagemaker, region = sagemaker_of(options), submission.region_of(options)
    kind, job = jobs.find(sagemaker, options.job)
    if kind is jobs.TUNING:
        with client.one_sentence():
            trials = tuning.with_bills(sagemaker, tuning.summaries(sagemaker, options.job))
        summary = tuning.summary(job, trials, _price(tuning.resources_of(job), region, options.price))
    else:
        summary = jobs.summary(job, _price(job["ResourceConfig"], region, options.price))
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        _print_summary(summary)
    return COMPLETED


def logs(options: argparse.Namespace) -> int:
    """Print the log so far, or until the job ends."""
    region = submission.region_of(options)
    jobs.describe(sagemaker_of(options), options.job)
    if options.follow:
        with StopSignals(Aborted), _report_detaching(options.job, region, stop_on_interrupt=False):
            follow.follow(sagemaker_of(options), client.create("logs", region), options.job)
        return COMPLETED
    with client.one_sentence():
        for line in follow.Log(client.create("logs", region), options.job).new_lines():
            print(line)
    return COMPLETED


def stop(options: argparse.Namespace) -> int:
    """Stop a job and wait until it has saved its state."""
    sagemaker = sagemaker_of(options)
    kind, _ = jobs.find(sagemaker, options.job, (jobs.TRAINING, jobs.TUNING, jobs.TRANSFORM))
    jobs.stop(sagemaker, options.job, kind)
    print(f"Stop requested for {kind.noun} {options.job}", flush=True)
    while not options.no_wait:
        state = jobs.find(sagemaker, options.job, [kind])[1][kind.status]
        if state in jobs.ENDED:
            print(f"{kind.noun.capitalize()} {options.job} is {state}")
            break
        time.sleep(follow.POLL_SECONDS)
    return COMPLETED


def list_jobs(options: argparse.Namespace) -> int:
    """List the newest jobs."""
    with client.one_sentence():
        found = jobs.newest(sagemaker_of(options), options.base_job_name, options.limit)
    if options.json:
        print(json.dumps(found, indent=2))
        return COMPLETED
    for job in found:
        note = "  (tuning job)" if job["kind"] == jobs.TUNING.operation else ""
        print(f"{job['status']:10}  {job['created']}  {job['job']}{note}")
    if not found:
        print(f"No job in {submission.region_of(options)} has a name with {options.base_job_name}", file=sys.stderr)
    return COMPLETED


def download(options: argparse.Namespace) -> int:
    """Download and unpack the results of a job."""
    directory = options.to or DOWNLOADS / options.job
    job = jobs.describe(sagemaker_of(options), options.job)
    try:
        paths = storage.download(client.create("s3", submission.region_of(options)), job, Path(directory))
    except client.FAILURES as error:
        again = "; the same command goes on where it was" if Path(directory).exists() else ""
        raise Refused(f"{client.explain(error)}{again}") from None
    if options.json:
        print(json.dumps(paths, indent=2))
    else:
        for name, path in paths.items():
            print(f"{name:6}  {path}")
    return COMPLETED


def sagemaker_of(options: argparse.Namespace) -> Any:
    """A client for SageMaker in the region of the options. Raises Refused."""
    with client.one_sentence():
        return client.create("sagemaker", submission.region_of(options))


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
