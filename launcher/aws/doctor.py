"""Checks everything that a job needs, and changes nothing. Each finding says what to do about it."""

from __future__ import annotations

import argparse
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from botocore.exceptions import BotoCoreError, ClientError

from launcher import ROOT
from launcher.aws import account
from launcher.aws import client as aws
from launcher.aws.account import FAILED, OK, WARNING, Finding
from launcher.errors import Refused
from launcher.local import engine
from launcher.plan import submission
from text_classifier.contract.errors import UserError

_FREE_BYTES = 15 * 10**9


def examine(options: argparse.Namespace, parallel_jobs: int = 1) -> Iterator[Finding]:
    """All checks: of the settings, of AWS, of this machine."""
    here = _begin("local mode", _local_mode)
    yield from examine_aws(options, parallel_jobs)
    yield from here.result()


def report(options: argparse.Namespace, prints: bool, parallel_jobs: int = 1) -> list[Finding]:
    """All findings, each printed at once as a line if so wanted."""
    findings = []
    for finding in examine(options, parallel_jobs):
        findings.append(finding)
        if prints:
            print(f"{finding.level:7}  {finding.check:13}  {finding.text}", flush=True)
    return findings


def require_health(findings: Sequence[Finding]) -> None:
    """Raise Refused when a check failed."""
    failed = sum(finding.level == FAILED for finding in findings)
    if failed:
        raise Refused(f"{failed} of {len(findings)} checks failed; each line says what to do")


def examine_aws(options: argparse.Namespace, parallel_jobs: int = 1) -> Iterator[Finding]:
    """The checks that so many jobs in AWS depend on. Without credentials the rest is left out."""
    yield from _asked("settings", lambda: _settings(options))
    try:
        region = submission.region_of(options)
    except UserError as error:
        yield Finding("region", FAILED, str(error))
        return
    accounts: list[str] = []
    yield from _asked("credentials", lambda: account.check_credentials(region, accounts))
    if not accounts:
        return
    bucket = options.bucket or f"sagemaker-{region}-{accounts[0]}"
    asked = [
        _begin("region", lambda: account.check_region(region)),
        _begin("role", lambda: account.check_role(region, options.role, accounts[0])),
        _begin("bucket", lambda: account.check_bucket(region, bucket, is_default=not options.bucket)),
        _begin("image", lambda: account.check_image(options.image)),
        _begin("instance type", lambda: account.check_instance_type(region, options.instance_type)),
        _begin("quota", lambda: account.check_quotas(region, options, parallel_jobs * options.instance_count)),
    ]
    for answer in asked:
        yield from answer.result()


def _begin(check: str, ask: Callable[[], Iterator[Finding]]) -> Future[list[Finding]]:
    """Begin a check beside others.

    Its thread is a daemon, as an executor's is not: who interrupts the program does not wait for AWS.
    """
    answer: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            answer.set_result(list(_asked(check, ask)))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def _asked(check: str, ask: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds. One that may not look is a warning: others may have the permission, as the role has."""
    try:
        yield from ask()
    except UserError as error:
        yield Finding(check, FAILED, str(error))
    except (BotoCoreError, ClientError) as error:
        yield Finding(check, WARNING if aws.code_of(error) in aws.DENIED else FAILED, aws.explain(error))


def _settings(options: argparse.Namespace) -> Iterator[Finding]:
    submission.check_settings(options)
    spot = f"spot, waiting at most {options.max_wait or 2 * options.max_run} s" if options.spot else "on demand"
    yield Finding("settings", OK, f"{spot}, running at most {options.max_run} s")


def _local_mode() -> Iterator[Finding]:
    """Docker, Compose and disk, which a job in AWS does not need: what is missing is a warning."""
    try:
        engine.require_engine()
        with engine.compose_for_sdk():
            yield Finding("docker", OK, "an engine and Compose answer")
    except UserError as error:
        yield Finding("docker", WARNING, f"local mode will not run: {error}")
    free = shutil.disk_usage(ROOT).free
    enough = free >= _FREE_BYTES
    text = f"{free / 10**9:.0f} GB are free"
    yield Finding("disk", OK if enough else WARNING, text if enough else f"only {text}; building the image needs 15")
