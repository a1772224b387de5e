"""The commands of launch.py for jobs of any kind: status, logs, attach, stop, list."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from launcher.aws import client, follow, jobs
from launcher.aws.console import messages_to_stderr, print_result, print_summary
from launcher.aws.watching import WATCHERS
from launcher.errors import COMPLETED, JobFailed, LostContact, Refused
from launcher.plan import submission
from launcher.signals import Aborted, StopSignals


@contextlib.contextmanager
def report_detaching(name: str, region: str, stop_on_interrupt: bool, kind: jobs.Kind) -> Iterator[None]:
    """Tell the user what happens to the job when this command ends before it."""
    attach = f"`launch.py attach {name} --region {region}` follows it"
    try:
        with client.losing_contact():
            yield
    except LostContact as error:
        raise LostContact(
            f"lost contact with {kind.noun} {name}, which keeps running if it was started: {error}; {attach}"
        ) from None
    except Aborted as interrupt:
        keeps = "keeps running if it was started"
        if stop_on_interrupt:
            try:
                with client.one_sentence():
                    jobs.stop(client.create("sagemaker", region), name, kind)
            except Refused as error:
                keeps = f"is not stopped ({error})"
            else:
                then = WATCHERS[kind].when_stopped
                print(f"launch.py: stop requested for {kind.noun} {name}{then}", file=sys.stderr)
                raise interrupt from None
        stop = f"`launch.py stop {name} --region {region}` stops it"
        print(f"launch.py: {kind.noun} {name} {keeps}; {attach}, {stop}", file=sys.stderr)
        raise interrupt from None


def until_completed(name: str, region: str, options: argparse.Namespace, kind: jobs.Kind) -> dict[str, Any]:
    """Follow a job to its end. Returns its summary. Raises JobFailed, with the summary printed, unless it completed."""
    sagemaker, watcher = client.create("sagemaker", region), WATCHERS[kind]
    job = watcher.follow(sagemaker, client.create("logs", region), name)
    watcher.clean_up(sagemaker, job)
    summary = follow.until_ended(lambda: watcher.summary(sagemaker, job, region, options.price))
    if reason := watcher.failure(summary):
        print_result(summary, options)
        raise JobFailed(f"{kind.noun} {name} ended with status {summary['status']}. {reason}")
    return summary


def follow_to_end(name: str, region: str, options: argparse.Namespace, kind: jobs.Kind) -> int:
    """Follow a job to its end and print its summary. Raises JobFailed unless it completed."""
    summary = until_completed(name, region, options, kind)
    print_result(summary, options)
    print(f"{kind.noun.capitalize()} {name} completed; {WATCHERS[kind].next_step(summary, region)}")
    return COMPLETED


def attach(options: argparse.Namespace) -> int:
    """Follow a job to its end."""
    region = submission.region_of(options)
    with messages_to_stderr(options), StopSignals(Aborted):
        kind, _ = jobs.find(client.create("sagemaker", region), options.job)
        with report_detaching(options.job, region, options.stop_on_interrupt, kind):
            return follow_to_end(options.job, region, options, kind)


def status(options: argparse.Namespace) -> int:
    """Show the status of a job."""
    sagemaker = jobs.sagemaker_of(options)
    kind, job = jobs.find(sagemaker, options.job)
    summary = WATCHERS[kind].summary(sagemaker, job, submission.region_of(options), options.price)
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        print_summary(summary)
    return COMPLETED


def logs(options: argparse.Namespace) -> int:
    """Print the log so far, or until the job ends."""
    sagemaker, region = jobs.sagemaker_of(options), submission.region_of(options)
    kind, _ = jobs.find(sagemaker, options.job)
    jobs.refuse_tuning(options.job, kind, region)
    print(f"Log of {kind.noun} {options.job} ({kind.log_group})", file=sys.stderr)
    events = client.create("logs", region)
    if options.follow:
        with StopSignals(Aborted), report_detaching(options.job, region, stop_on_interrupt=False, kind=kind):
            WATCHERS[kind].follow(sagemaker, events, options.job)
        return COMPLETED
    for line in follow.Log(events, options.job, kind.log_group).new_lines():
        print(line)
    return COMPLETED


def stop(options: argparse.Namespace) -> int:
    """Stop a job and wait until it has saved its state."""
    sagemaker = jobs.sagemaker_of(options)
    kind, _ = jobs.find(sagemaker, options.job)
    jobs.stop(sagemaker, options.job, kind)
    print(f"Stop requested for {kind.noun} {options.job}", flush=True)
    if options.no_wait:
        return COMPLETED

    def poll() -> dict[str, Any] | None:
        job = jobs.description(sagemaker, options.job, kind)
        return job if job[kind.status] in jobs.ENDED else None

    job = follow.until_ended(poll)
    WATCHERS[kind].clean_up(sagemaker, job)
    print(f"{kind.noun.capitalize()} {options.job} is {job[kind.status]}")
    return COMPLETED


def list_jobs(options: argparse.Namespace) -> int:
    """List the newest jobs."""
    found = jobs.newest(jobs.sagemaker_of(options), options.base_job_name, options.limit)
    if options.json:
        print(json.dumps(found, indent=2))
        return COMPLETED
    nouns = {kind.operation: f"  ({kind.noun})" for kind in jobs.KINDS if kind is not jobs.TRAINING}
    for job in found:
        print(f"{job['status']:10}  {job['created']}  {job['job']}{nouns.get(job['kind'], '')}")
    if not found:
        print(f"No job in {submission.region_of(options)} has a name with {options.base_job_name}", file=sys.stderr)
    return COMPLETED


COMMANDS = {"attach": attach, "status": status, "logs": logs, "stop": stop, "list": list_jobs}
