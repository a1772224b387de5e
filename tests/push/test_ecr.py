"""build_and_push.sh against moto as ECR and STS, and a real registry as the one behind ECR's host."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from failures import UserError
from launcher import aws as aws_calls
from launcher import ecr

from .conftest import ECR_HOST, REGION, Checkout, Registry, assert_one_sentence

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
    assert_one_sentence(built.push(**{**aws, **endpoint}), "AWS does not answer", "region")


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


def test_no_token_for_another_account(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"is for {ECR_HOST}, not"):
        ecr.login_password(REGION, ECR_HOST.replace("123456789012", "999999999999"))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("ExpiredTokenException", "have expired"),
        ("InvalidClientTokenId", "does not accept the credentials"),
        ("AccessDeniedException", "ask for that permission"),
        ("LimitExceededException", "AWS refused"),
    ],
)
def test_each_answer_of_aws_is_one_line(code: str, told: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "one line\nand another"}}, "CreateRepository")
    assert told in aws_calls.explain(error)
    assert "\n" not in aws_calls.explain(error)
