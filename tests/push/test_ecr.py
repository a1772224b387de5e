"""build_and_push.sh against moto as ECR and STS, with a real registry as ECR's registry."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from launcher.aws import client, ecr
from text_classifier.contract.errors import UserError

from .conftest import ECR_HOST, REGION, Checkout, Registry, assert_one_sentence
from .faulty_proxy import in_front_of

NAME = "sagemaker-text-classification"
CUDA = "nvidia/cuda:13.0.3-base-ubuntu24.04"
STANDIN = "standin-base:bookworm"
DockerForEcr = Callable[[str], tuple[str, Path]]


@pytest.fixture
def built(checkout: Checkout) -> Checkout:
    checkout.build(BASE_IMAGE=CUDA)
    return checkout


def repositories(aws: dict[str, str]) -> list[dict]:
    client = boto3.client(
        "ecr",
        region_name=REGION,
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    return client.describe_repositories()["repositories"]


def test_push_to_ecr(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    path, log = docker_for_ecr(login_registry.host)
    pushed = built.push(**aws, PATH=path)
    assert pushed.returncode == 0, pushed.stderr
    assert re.fullmatch(rf"{ECR_HOST}/{NAME}@sha256:[0-9a-f]{{64}}\n", pushed.stdout)

    (repository,) = repositories(aws)
    assert repository["repositoryName"] == NAME
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}

    calls = log.read_text()
    assert f"push {ECR_HOST}/{NAME}:{built.head}" in calls
    assert f"login --username AWS --password-stdin {ECR_HOST}" in calls
    assert "auth-token" not in calls + pushed.stdout + pushed.stderr

    again = built.push(**aws, PATH=path)
    assert (again.returncode, again.stdout) == (0, pushed.stdout), again.stderr


def test_login_leaves_no_trace(
    built: Checkout,
    aws: dict[str, str],
    login_registry: Registry,
    docker_for_ecr: DockerForEcr,
    tmp_path: Path,
) -> None:
    path, _ = docker_for_ecr(login_registry.host)
    config = Path(built.environment["HOME"]) / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {"registry.example.com": {"auth": "bWU6aXQ="}}}))
    before = config.read_text()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    pushed = built.push(**aws, PATH=path, TMPDIR=str(temporary))
    assert pushed.returncode == 0, pushed.stderr
    assert config.read_text() == before
    assert list(config.parent.iterdir()) == [config]
    assert list(temporary.iterdir()) == []


def test_existing_repository_is_left_as_it_is(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    path, _ = docker_for_ecr(login_registry.host)
    for tag in ("one", "two"):
        pushed = built.push("--repository", "mine", "--tag", tag, **aws, PATH=path)
        assert pushed.returncode == 0, pushed.stderr
        assert ("Created the ECR repository mine" in pushed.stderr) == (tag == "one")
    assert [repository["repositoryName"] for repository in repositories(aws)] == ["mine"]


def test_standin_base_is_refused_unless_allowed(
    checkout: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    path, _ = docker_for_ecr(login_registry.host)
    checkout.build(BASE_IMAGE=STANDIN)
    assert_one_sentence(checkout.push(**aws, PATH=path), STANDIN, "--allow-standin-base")
    assert repositories(aws) == []
    allowed = checkout.push("--allow-standin-base", **aws, PATH=path)
    assert allowed.returncode == 0, allowed.stderr


def test_region_comes_from_the_flag_before_the_environment(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    path, _ = docker_for_ecr(login_registry.host)
    pushed = built.push("--region", REGION, **{**aws, "AWS_REGION": "eu-west-1"}, PATH=path)
    assert pushed.stdout.startswith(ECR_HOST), pushed.stderr


def test_no_region(built: Checkout, aws: dict[str, str]) -> None:
    assert_one_sentence(built.push(**{**aws, "AWS_REGION": ""}), "No AWS region", "--region", "AWS_REGION")


def test_no_credentials(built: Checkout, aws: dict[str, str]) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    assert_one_sentence(built.push(**{**aws, **keys}), "no AWS credentials", "aws configure")


def test_unknown_profile(built: Checkout) -> None:
    assert_one_sentence(built.push("--region", REGION, AWS_PROFILE="nobody"), "nobody", "AWS_PROFILE")


def test_aws_that_does_not_answer(built: Checkout, aws: dict[str, str], closed_port: int) -> None:
    endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port}"}
    assert_one_sentence(built.push(**{**aws, **endpoint}), "AWS does not respond", "region")


def test_login_that_the_registry_refuses(
    built: Checkout, aws: dict[str, str], closed_port: int, docker_for_ecr: DockerForEcr
) -> None:
    path, _ = docker_for_ecr(f"127.0.0.1:{closed_port}")
    refused = built.push(**aws, PATH=path)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert f"could not log in to {ECR_HOST}" in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:5000",
        "registry.example.com",
        f"{ECR_HOST}.example.com",
        f"x{ECR_HOST}",
        ECR_HOST.replace(REGION, "eu-west-1"),
    ],
)
def test_no_token_for_a_host_that_is_not_ecrs(host: str) -> None:
    with pytest.raises(UserError, match="No token is sent"):
        ecr.login_password(REGION, host)


def test_push_to_the_registry_of_another_account(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    """moto has one account, in which the repository of the other is missing."""
    path, _ = docker_for_ecr(login_registry.host)
    refused = built.push("--account", "999999999999", **aws, PATH=path)
    assert_one_sentence(refused, f"account 999999999999 has no repository {NAME}", "account 123456789012")
    own = built.push("--account", "123456789012", **aws, PATH=path)
    assert own.returncode == 0, own.stderr


def test_the_login_serves_the_registries_of_other_accounts(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    other = ECR_HOST.replace("123456789012", "999999999999")
    assert ecr.login_password(REGION, other) == ecr.login_password(REGION, ECR_HOST)


def test_the_region_of_the_profile(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr, tmp_path: Path
) -> None:
    path, _ = docker_for_ecr(login_registry.host)
    config = tmp_path / "config"
    config.write_text(f"[default]\nregion = {REGION}\n[profile far]\nregion = eu-west-1\n")
    pushed = built.push(**{**aws, "AWS_REGION": "", "AWS_CONFIG_FILE": str(config)}, PATH=path)
    assert pushed.stdout.startswith(ECR_HOST), pushed.stderr


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
    ],
)
def test_every_host_of_ecr_is_one(host: str, region: str) -> None:
    ecr.require_ecr_host(host, region)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("ExpiredTokenException", "have expired"),
        ("InvalidClientTokenId", "does not accept the credentials"),
        ("AccessDeniedException", "ask for that permission"),
        ("LimitExceededException", "AWS refused"),
    ],
)
def test_each_answer_of_aws_is_one_line(code: str, part: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "one line\nand another"}}, "CreateRepository")
    assert part in client.explain(error)
    assert "\n" not in client.explain(error)


# -- the scan


def _basic(name: str, severity: str) -> dict:
    return {"findings": [{"name": name, "severity": severity}]}


def _enhanced(name: str, severity: str, status: str = "ACTIVE") -> dict:
    details = {"vulnerabilityId": name}
    return {"enhancedFindings": [{"packageVulnerabilityDetails": details, "severity": severity, "status": status}]}


class Scans:
    """A fake ECR client whose scan goes through these states and then has these findings."""

    def __init__(self, states: list[str], findings: list[tuple[str, str]] | list[dict]) -> None:
        self.states = states
        self.pages = [
            {"imageScanFindings": each if isinstance(each, dict) else _basic(*each)} for each in findings
        ] or [{"imageScanFindings": {"findings": []}}]
        self.exceptions = boto3.client("ecr", region_name=REGION).exceptions

    def describe_image_scan_findings(self, **image: object) -> dict:
        state = self.states.pop(0)
        if state == "none":
            raise self.exceptions.ScanNotFoundException({"Error": {"Code": "ScanNotFoundException"}}, "Describe")
        return {"imageScanStatus": {"status": state}}

    def get_paginator(self, operation: str) -> Scans:
        return self

    def paginate(self, **image: object) -> list[dict]:
        return self.pages


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    allowed = tmp_path / "allowed-findings.txt"
    monkeypatch.setattr(ecr, "ALLOWED_FINDINGS", allowed)
    monkeypatch.setattr(ecr, "SCAN_POLL_SECONDS", 0)

    def run(states: list[str], findings: list[tuple[str, str]], lines: str = "# none\n") -> None:
        allowed.write_text(lines)
        monkeypatch.setattr(ecr.client, "create", lambda service, region: Scans(states, findings))
        ecr.scan(REGION, NAME, "sha256:1")

    return run


def test_the_scan_is_waited_for_and_counted(scan: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    scan(["none", "PENDING", "IN_PROGRESS", "COMPLETE"], [("CVE-1", "HIGH"), ("CVE-2", "LOW"), ("CVE-3", "HIGH")])
    assert capsys.readouterr().err == "scan: status COMPLETE, 2 HIGH, 1 LOW\n"
    scan(["COMPLETE"], [])
    assert capsys.readouterr().err == "scan: status COMPLETE, no findings\n"


def test_the_findings_of_enhanced_scanning_count(scan: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    critical = [_enhanced("CVE-1", "CRITICAL"), _enhanced("CVE-2", "LOW")]
    with pytest.raises(UserError, match="critical findings of the scan: CVE-1;"):
        scan(["PENDING", "ACTIVE"], critical)
    assert capsys.readouterr().err == "scan: status ACTIVE, 1 CRITICAL, 1 LOW\n"
    scan(["ACTIVE"], critical, "CVE-1 2999-12-31 never called\n")
    scan(["ACTIVE"], [_enhanced("CVE-1", "CRITICAL", "CLOSED")])
    with pytest.raises(UserError, match="critical findings of the scan: a title;"):
        scan(["ACTIVE"], [{"enhancedFindings": [{"title": "a title", "severity": "CRITICAL"}]}])


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({}, "ended without findings to read"),
        ({"imageScanCompletedAt": 1}, "ended without findings to read"),
        ({"findings": [], "findingSeverityCounts": {"CRITICAL": 2}}, "ECR counts 2 critical findings but lists none"),
    ],
)
def test_a_scan_without_findings_to_read_has_not_passed(scan: Callable[..., None], found: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        scan(["COMPLETE"], [found])


@pytest.mark.parametrize(
    "state",
    ["FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED", "FINDINGS_UNAVAILABLE", "LIMIT_EXCEEDED", "NEW"],
)
def test_every_other_state_has_not_passed(scan: Callable[..., None], state: str) -> None:
    with pytest.raises(UserError, match=f"ECR did not scan the image: status {state}"):
        scan(["PENDING", state], [])


def test_a_push_that_waits_for_the_scan_fails_with_it(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    """The image is in the registry but not in moto's ECR, which therefore has no scan."""
    path, _ = docker_for_ecr(login_registry.host)
    pushed = built.push("--wait-scan", **aws, PATH=path)
    assert (pushed.returncode, pushed.stdout) == (1, "")
    assert "AWS refused DescribeImageScanFindings (ImageNotFoundException" in pushed.stderr.splitlines()[-1]


def test_a_critical_finding_fails_unless_it_is_allowed_today(scan: Callable[..., None]) -> None:
    critical = [("CVE-1", "CRITICAL"), ("CVE-2", "HIGH")]
    with pytest.raises(UserError, match="critical findings of the scan: CVE-1;"):
        scan(["COMPLETE"], critical)
    for findings in (critical, []):
        with pytest.raises(UserError, match="line 1: CVE-1 was allowed until 2020-01-01; remove the line if"):
            scan(["COMPLETE"], findings, "CVE-1 2020-01-01 that day is over\n")
    scan(["COMPLETE"], critical, "CVE-1 2999-12-31 never called\n")


@pytest.mark.parametrize("line", ["CVE-1", "CVE-1 soon because", "CVE-1 2999-12-31"])
def test_an_allowance_needs_its_day_and_reason(scan: Callable[..., None], line: str) -> None:
    with pytest.raises(UserError, match="line 1: write `CVE-2026-1 2026-12-31 reason`"):
        scan(["COMPLETE"], [], line)


def test_an_image_that_is_not_scanned_fails(scan: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="ECR did not scan the image"):
        scan(["UNSUPPORTED_IMAGE"], [])
    monkeypatch.setattr(ecr, "SCAN_SECONDS", 0)
    with pytest.raises(UserError, match="check that scan on push is on"):
        scan(["PENDING"] * 9, [])


def test_a_login_that_ends_in_the_middle_of_the_push_is_renewed(
    built: Checkout, aws: dict[str, str], login_registry: Registry, docker_for_ecr: DockerForEcr
) -> None:
    with in_front_of(login_registry.host) as proxy:
        proxy.fail_manifests("401", times=1)
        path, log = docker_for_ecr(proxy.host)
        pushed = built.push(**aws, PATH=path, PUSH_PAUSE_MILLISECONDS="1")
        assert pushed.returncode == 0, pushed.stderr
    assert proxy.met("401") == 1
    assert "logging in again" in pushed.stderr
    assert log.read_text().count("login --username AWS") == 2
