"""Users' mistakes: one sentence with the remedy, and an exit code other than 0."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from .conftest import IMAGE, Checkout, assert_one_sentence, docker


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
    assert_one_sentence(answer, "git reports none", "commit first", "not a git repository")


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
