"""Users' mistakes: one sentence with the remedy, and an exit code other than 0."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from .conftest import IMAGE, Checkout, Registry, assert_one_sentence, docker


@pytest.mark.parametrize("command", ["build", "push"])
def test_no_docker(checkout: Checkout, tmp_path: Path, command: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "git"):
        (tools / name).symlink_to(shutil.which(name) or name)
    assert_one_sentence(checkout.script(command, PATH=str(tools)), "Docker is not installed", "make engine")


@pytest.mark.parametrize("command", ["build", "push"])
def test_no_engine(checkout: Checkout, tmp_path: Path, command: str) -> None:
    answer = checkout.script(command, DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert_one_sentence(answer, "The Docker engine does not respond", "make engine")


def test_image_that_was_not_built(checkout: Checkout) -> None:
    answer = checkout.script("push", "--image", "never-built:local", "--registry", "127.0.0.1:1")
    assert_one_sentence(answer, "no image never-built:local", "./build_and_push.sh build")


def test_no_virtual_environment(checkout: Checkout) -> None:
    assert_one_sentence(checkout.push(PYTHON=""), ".venv/bin/python", "make venv")


def test_no_git_checkout(checkout: Checkout) -> None:
    checkout.build()
    shutil.rmtree(checkout.path / ".git")
    answer = checkout.push("--registry", "127.0.0.1:1", GIT_CEILING_DIRECTORIES=str(checkout.path.parent))
    assert_one_sentence(answer, "git reports none", "give --tag", "not a git repository")


def test_a_download_without_git_needs_a_tag_alone(checkout: Checkout, registry: Registry) -> None:
    shutil.rmtree(checkout.path / ".git")
    outside = {"GIT_CEILING_DIRECTORIES": str(checkout.path.parent)}
    checkout.build(**outside)
    pushed = checkout.push("--registry", registry.host, "--tag", "v1", **outside)
    assert pushed.returncode == 0, pushed.stderr
    assert "is pushed as v1, and its label has no commit" in pushed.stderr
    again = checkout.push("--registry", registry.host, "--tag", "v1", "--allow-dirty", **outside)
    assert again.returncode == 0, again.stderr


def test_the_commit_of_a_repository_around_the_download_is_not_its_own(checkout: Checkout) -> None:
    """As with dotfiles in the home folder."""
    shutil.move(checkout.path / ".git", checkout.path.parent)
    checkout.build()
    label = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    assert docker("image", "inspect", "--format", label, IMAGE) == "unknown"
    assert_one_sentence(checkout.push("--registry", "127.0.0.1:1"), "git reports none for this folder", "give --tag")


@pytest.mark.parametrize("command", ["build", "push"])
def test_a_user_whom_the_engine_refuses(checkout: Checkout, tmp_path: Path, command: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    refusal = "Got permission denied while trying to connect to the Docker daemon socket"
    (tools / "docker").write_text(f"#!/bin/sh\necho '{refusal}' >&2\nexit 1\n")
    (tools / "docker").chmod(0o755)
    answer = checkout.script(command, PATH=f"{tools}:{checkout.environment['PATH']}")
    assert_one_sentence(answer, "denies access to this user", "sudo usermod -aG docker", "log in again")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--registry", "999999999999.dkr.ecr.eu-west-1.amazonaws.com"], "or give --account 999999999999."),
        (["--registry", "999999999999.dkr-ecr.eu-west-1.on.aws"], "or give --account 999999999999."),
        (["--account", "12"], "give the 12 digits"),
    ],
)
def test_the_registry_of_another_account_is_named_by_its_account(
    checkout: Checkout, words: list[str], part: str
) -> None:
    answer = checkout.push(*words)
    assert answer.returncode == 2
    assert part in answer.stderr.splitlines()[0]


def test_image_for_another_platform(checkout: Checkout, tmp_path: Path) -> None:
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Labels": {"org.opencontainers.image.title": "push-test"}},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "manifest.json").write_text(json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": []}]))
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name in ("config.json", "manifest.json"):
            archive.add(tmp_path / name, name)
    docker("load", "--input", str(tmp_path / "image.tar"))
    assert_one_sentence(checkout.push("--registry", "127.0.0.1:1"), "linux/arm64", "./build_and_push.sh build")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "build or push"),
        (["bild"], "Unknown argument: bild"),
        (["push", "--regoin", "us-east-1"], "Unknown argument: --regoin"),
        (["push", "build"], "Give one command"),
        (["push", "--region"], "--region needs a value"),
        (["push", "--tag", "--allow-dirty"], "--tag needs a value"),
        (["push", "--tag", "a b"], "--tag a b"),
        (["push", "--repository", "Upper"], "--repository Upper"),
        (["push", "--registry", "http://127.0.0.1:5000"], "give HOST:PORT"),
        (["push", "--registry", "123456789012.dkr.ecr.us-east-1.amazonaws.com"], "remove it"),
        (["push", "--registry", "127.0.0.1:5000", "--region", "us-east-1"], "not both"),
        (["push", "--registry", "127.0.0.1:5000", "--wait-scan"], "--wait-scan works with ECR only"),
    ],
)
def test_wrong_use_shows_the_usage(checkout: Checkout, arguments: list[str], part: str) -> None:
    answer = checkout.script(*arguments)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert part in answer.stderr.splitlines()[0]
    assert "usage: ./build_and_push.sh" in answer.stderr


def test_help(checkout: Checkout) -> None:
    answer = checkout.script("--help")
    assert answer.returncode == 0
    assert answer.stdout.startswith("usage: ./build_and_push.sh")
    assert answer.stderr == ""
