"""Checks everything that a job needs, without changing anything. Each problem comes with a remedy."""

from __future__ import annotations

import argparse
import functools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from botocore.exceptions import BotoCoreError, ClientError

from launcher import ROOT
from launcher.aws import account, client, security, sources
from launcher.aws.finding import FAILED, OK, WARNING, Finding
from launcher.errors import Refused
from launcher.local import engine
from launcher.plan import submission
from text_classifier.contract.errors import UserError

_FREE_BYTES = 15 * 10**9


def examine(
    options: argparse.Namespace, parallel_jobs: int = 1, serving_types: Sequence[str] = ()
) -> Iterator[Finding]:
    """All checks: settings, AWS, and this machine. `serving_types` are instance types for endpoints and transform."""
    here = _start("local mode", _local_mode)
    yield from examine_aws(options, parallel_jobs, serving_types)
    yield from here.result()


def report(
    options: argparse.Namespace, prints: bool, parallel_jobs: int = 1, serving_types: Sequence[str] = ()
) -> list[Finding]:
    """All findings; with `prints`, each is printed as a line as soon as it is known."""
    findings = []
    for finding in examine(options, parallel_jobs, serving_types):
        findings.append(finding)
        if prints:
            print(f"{finding.level:7}  {finding.check:13}  {finding.text}", flush=True)
    return findings


def require_health(findings: Sequence[Finding]) -> None:
    """Raise Refused if a check failed."""
    failed = sum(finding.level == FAILED for finding in findings)
    if failed:
        raise Refused(f"{failed} of {len(findings)} checks failed; see the remedy in each line")


def examine_aws(
    options: argparse.Namespace, parallel_jobs: int = 1, serving_types: Sequence[str] = ()
) -> Iterator[Finding]:
    """The checks for `parallel_jobs` jobs on SageMaker. Without credentials it ends after the first checks."""
    yield from _findings("settings", lambda: _settings(options))
    try:
        region = submission.region_of(options)
    except UserError as error:
        yield Finding("region", FAILED, str(error))
        return
    accounts: list[str] = []
    yield from _findings("credentials", lambda: account.check_credentials(region, accounts))
    if not accounts:
        return
    if not options.listings:
        sources.look(options)
    bucket = options.bucket or f"sagemaker-{region}-{accounts[0]}"
    running = [
        _start("region", lambda: account.check_region(region)),
        _start("role", lambda: account.check_role(region, options.role, accounts[0])),
        _start("bucket", lambda: account.check_bucket(region, bucket, is_default=not options.bucket)),
        *(_start(name, functools.partial(sources.check, options, name)) for name in options.listings),
        _start("image", lambda: account.check_image(region, options.image)),
        _start("instance type", lambda: account.check_instance_type(region, options.instance_type)),
        _start("quota", lambda: account.check_quotas(region, options, parallel_jobs * options.instance_count)),
    ]
    if serving_types:
        running.append(_start("serving", lambda: account.check_serving_quotas(region, serving_types)))
    if options.subnet and options.security_group:
        network = functools.partial(security.check_network, region, options.subnet, options.security_group)
        running.append(_start("network", network))
    for flag, key in (("--kms-key", options.kms_key), ("--volume-kms-key", options.volume_kms_key)):
        if key:
            running.append(_start("key", functools.partial(security.check_key, region, flag, key)))
    for findings in running:
        yield from findings.result()


def _start(check: str, run_check: Callable[[], Iterator[Finding]]) -> Future[list[Finding]]:
    """Start a check in a thread.

    A daemon thread, unlike those of an executor: Ctrl-C does not wait for AWS.
    """
    findings: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            findings.set_result(list(_findings(check, run_check)))
        except Exception as error:
            findings.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return findings


def _findings(check: str, run_check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check. Without the permission to look it is a warning: the job's role may have it."""
    try:
        yield from run_check()
    except UserError as error:
        yield Finding(check, FAILED, str(error))
    except (BotoCoreError, ClientError) as error:
        yield Finding(check, WARNING if client.code_of(error) in client.DENIED else FAILED, client.explain(error))


def _settings(options: argparse.Namespace) -> Iterator[Finding]:
    submission.check_settings(options)
    spot = f"spot, at most {submission.max_wait(options)} s of waiting plus running" if options.spot else "on demand"
    yield Finding("settings", OK, f"{spot}, at most {options.max_run} s of running")


def _local_mode() -> Iterator[Finding]:
    """Docker, Compose and disk space: warnings only, because a job on SageMaker does not need them."""
    try:
        engine.require_engine()
        with engine.compose_for_sdk():
            yield Finding("docker", OK, "Docker engine and Compose respond")
    except UserError as error:
        yield Finding("docker", WARNING, f"local mode is not available: {error}")
    free = shutil.disk_usage(ROOT).free
    enough = free >= _FREE_BYTES
    text = f"{free / 10**9:.0f} GB free"
    yield Finding("disk", OK if enough else WARNING, text if enough else f"only {text}; building the image needs 15 GB")
