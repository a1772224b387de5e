"""Amazon ECR for build_and_push.sh: the repository to push to, and the password to log in with.

    python -m launcher.aws.ecr region                                 prints the region of the profile
    python -m launcher.aws.ecr prepare --region R --repository NAME [--account A]   prints the registry's host
    python -m launcher.aws.ecr password --region R --host HOST        prints the password, for --password-stdin
    python -m launcher.aws.ecr scan --region R --repository NAME --digest D    waits for the scan, prints its findings

Not the aws command line, because boto3 is already in .venv, pinned and the same on every machine.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from launcher import ROOT, program
from launcher.aws import client
from launcher.plan.request import region_of_host
from launcher.plan.submission import region_of_profile
from text_classifier.contract.errors import UserError

ALLOWED_FINDINGS = ROOT / "aws" / "allowed-findings.txt"
SCAN_SECONDS = 900
SCAN_POLL_SECONDS = 10


def ensure_repository(region: str, name: str, account: str | None = None) -> str:
    """The registry host of the repository, which is created if missing (immutable tags, scan on push).

    That of another account must exist. Raises UserError.
    """
    own = client.create("sts", region).get_caller_identity()["Account"]
    ecr = client.create("ecr", region)
    try:
        found = ecr.describe_repositories(registryId=account or own, repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        if account not in (None, own):
            raise UserError(
                f"account {account} has no repository {name} in {region}; create it there, with a policy that lets "
                f"account {own} push, or give another --repository"
            ) from None
        found = ecr.create_repository(
            repositoryName=name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )["repository"]
        print(f"Created the ECR repository {name} in {region}, account {own}.", file=sys.stderr)
    host = str(found["repositoryUri"].partition("/")[0])
    require_ecr_host(host, region)
    return host


def login_password(region: str, host: str) -> str:
    """The password of user AWS for this registry host, valid for twelve hours. Raises UserError.

    One login serves all registries that the caller may push to, those of other accounts too.
    """
    require_ecr_host(host, region)
    answer = client.create("ecr", region).get_authorization_token()["authorizationData"][0]
    token_host = urlsplit(answer["proxyEndpoint"]).hostname or ""
    if region_of_host(token_host) != region:
        raise UserError(f"The ECR token is for {token_host}, not for {host}; check the credentials and the region.")
    return base64.b64decode(answer["authorizationToken"]).decode().partition(":")[2]


def require_ecr_host(host: str, region: str) -> None:
    """Raise UserError for anything but an ECR host in this region: other hosts must not get a token."""
    if region_of_host(host) != region:
        raise UserError(
            f"No token is sent to {host}, which is not the host of an ECR registry in {region}; check --region."
        )


def allowed_findings(today: date) -> set[str]:
    """The findings that aws/allowed-findings.txt allows. Raises UserError, also for a line whose last day is over."""
    allowed = set()
    try:
        lines = ALLOWED_FINDINGS.read_text().splitlines()
    except OSError as error:
        raise UserError(
            f"{ALLOWED_FINDINGS} cannot be read ({error.strerror}); restore it or create an empty file"
        ) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{ALLOWED_FINDINGS.name}, line {number}"
        try:
            name, until, _reason = line.split(maxsplit=2)
            is_over = date.fromisoformat(until) < today
        except ValueError:
            raise UserError(f"{place}: write `CVE-2026-1 2026-12-31 reason`, with the last day") from None
        if is_over:
            raise UserError(
                f"{place}: {name} was allowed until {until}; remove the line if newer packages have fixed it, or look "
                "at it again and give a later day"
            )
        allowed.add(name)
    return allowed


def scan(region: str, repository: str, digest: str, account: str | None = None) -> None:
    """Wait for the scan of an image and print its findings. Raises UserError for critical ones that are not allowed."""
    allowed = allowed_findings(datetime.now(UTC).date())
    ecr = client.create("ecr", region)
    image: dict[str, Any] = {"repositoryName": repository, "imageId": {"imageDigest": digest}}
    if account:
        image["registryId"] = account
    status = _wait_for_scan(ecr, image)
    findings, counts = _findings(ecr, image)
    print(
        f"scan: status {status}, {', '.join(f'{n} {level}' for level, n in counts.items()) or 'no findings'}",
        file=sys.stderr,
    )
    critical = {name for name, level in findings if level == "CRITICAL"}
    refused = sorted(critical - allowed)
    if refused:
        raise UserError(
            f"critical findings of the scan: {', '.join(refused)}; build with newer packages (make lock UPGRADE=1), "
            f"or allow them until a date in aws/{ALLOWED_FINDINGS.name}"
        )
    if counts.get("CRITICAL", 0) and not critical:
        raise UserError(
            f"ECR counts {counts['CRITICAL']} critical findings but lists none of them; look at them in ECR"
        )


def _findings(ecr: Any, image: dict[str, Any]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Name and severity of each finding, of basic and of enhanced scanning, and ECR's counts by severity."""
    findings: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    is_known = False
    for page in ecr.get_paginator("describe_image_scan_findings").paginate(**image):
        found = page.get("imageScanFindings", {})
        is_known |= bool({"findings", "enhancedFindings", "findingSeverityCounts"} & found.keys())
        basic, enhanced = found.get("findings", []), found.get("enhancedFindings", [])
        findings += [(each["name"], each.get("severity", "UNDEFINED")) for each in basic]
        findings += [
            (_name(each), each.get("severity", "UNDEFINED")) for each in enhanced if each.get("status") != "CLOSED"
        ]
        counts |= found.get("findingSeverityCounts", {})
    if not is_known:
        raise UserError("ECR's scan has ended without findings to read; look at the image in ECR")
    seen = Counter(level for _, level in findings)
    return findings, {level: max(seen[level], counts.get(level, 0)) for level in {**counts, **seen}}


def _name(finding: dict[str, Any]) -> str:
    """The CVE of an enhanced finding; one that is no package's vulnerability has a title only."""
    return str(
        finding.get("packageVulnerabilityDetails", {}).get("vulnerabilityId")
        or finding.get("title")
        or finding.get("findingArn")
        or "a finding without a name"
    )


def _wait_for_scan(ecr: Any, image: dict[str, Any]) -> str:
    """Wait until the scan has ended well, and return its status. Raises UserError for every other end."""
    deadline = time.monotonic() + SCAN_SECONDS
    while True:
        try:
            status = ecr.describe_image_scan_findings(**image).get("imageScanStatus", {})
        except ecr.exceptions.ScanNotFoundException:
            status = {}  # scan on push starts shortly after the push
        state = str(status.get("status", "PENDING"))
        if state in ("COMPLETE", "ACTIVE"):  # ACTIVE: enhanced scanning, which goes on
            return state
        if state not in ("PENDING", "IN_PROGRESS"):
            raise UserError(
                f"ECR did not scan the image: status {state} ({status.get('description', 'no description')}); "
                "start a scan there"
            )
        if time.monotonic() > deadline:
            raise UserError(
                f"ECR has not scanned the image after {SCAN_SECONDS} s (status {state}); check that scan on push is on"
            )
        time.sleep(SCAN_POLL_SECONDS)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launcher.aws.ecr")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="create the repository if missing, print the registry's host")
    prepare.add_argument("--repository", required=True)
    prepare.add_argument("--account")
    commands.add_parser("region", help="print the region of the profile, if it has one")
    password = commands.add_parser("password", help="print the password that docker login reads from stdin")
    password.add_argument("--host", required=True)
    scanned = commands.add_parser("scan", help="wait for the scan of an image and print its findings")
    scanned.add_argument("--repository", required=True)
    scanned.add_argument("--digest", required=True)
    scanned.add_argument("--account")
    for command in (prepare, password, scanned):
        command.add_argument("--region", required=True)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        if arguments.command == "region":
            print(region_of_profile() or "")
        elif arguments.command == "prepare":
            print(ensure_repository(arguments.region, arguments.repository, arguments.account))
        elif arguments.command == "scan":
            scan(arguments.region, arguments.repository, arguments.digest, arguments.account)
        else:
            print(login_password(arguments.region, arguments.host))
    except UserError as error:
        print(f"ecr: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError, ValueError) as error:
        print(f"ecr: {client.explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    program.run("ecr", main)
