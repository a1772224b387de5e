"""build_and_push.sh build: the choice of the base, and the arguments of docker build."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Checkout, assert_one_sentence

DEFAULT = "example/base:1"
STANDIN = "standin-base:bookworm"

#: As the real script answers --name.
NAMES_STANDIN = f'case "$*" in *--name) echo {STANDIN}; exit ;; esac\n'


@dataclass(frozen=True)
class FakeDocker:
    """A checkout with a fake `docker` that logs its arguments; its images are files in a directory."""

    checkout: Checkout
    directory: Path

    def build(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.directory}:{self.checkout.environment['PATH']}"
        return self.checkout.script("build", *options, PATH=path, **environment)

    def add_image(self, name: str) -> None:
        (self.directory / "images").mkdir(exist_ok=True)
        (self.directory / "images" / name.replace("/", "_")).touch()

    def calls(self, command: str) -> list[str]:
        lines = (self.directory / "log").read_text().splitlines()
        return [line for line in lines if line.startswith(f"{command} ") and not line.endswith("--help")]

    def base(self) -> str:
        (call,) = self.calls("build")
        return call.partition("BASE_IMAGE=")[2].split()[0]


@pytest.fixture
def fake(checkout: Checkout, tmp_path: Path) -> FakeDocker:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "docker").write_text(
        f"""#!/usr/bin/env bash
echo "$@" >>{directory}/log
case "$1 $2" in
    "image inspect") name=${{!#}}; [[ -e {directory}/images/${{name//\\//_}} ]] && echo linux/amd64 ;;
    "buildx version") [[ -n ${{BUILDX:-}} ]] || exit 1 ;;
    "build --help") echo "      --load   Load the single-platform build result to docker images" ;;
    build*)  # a builder in a container keeps the image unless it is told to load it
        [[ ${{BUILDER:-}} == container && "$*" != *--load* ]] && exit
        mkdir -p {directory}/images
        while (($#)); do
            case $1 in
                --iidfile) echo sha256:1 >"$2" ;;
                --tag) touch "{directory}/images/${{2//\\//_}}" ;;
            esac
            shift
        done ;;
    "version --format") echo linux/${{ENGINE:-amd64}} ;;
    "pull --quiet") [[ ${{PULL:-}} == works ]] || {{ echo "no such host" >&2; exit 1; }} ;;
esac
"""
    )
    standin = checkout.path / "docker" / "standin-base.sh"
    standin.write_text(f"#!/bin/sh\n{NAMES_STANDIN}mkdir -p {directory}/images && touch {directory}/images/{STANDIN}\n")
    for script in (directory / "docker", standin):
        script.chmod(0o755)
    checkout.commit()
    return FakeDocker(checkout, directory)


def test_base_image_of_the_environment_comes_first(fake: FakeDocker) -> None:
    fake.add_image(DEFAULT)
    assert fake.build(BASE_IMAGE="mine:1").returncode == 0
    assert fake.base() == "mine:1"


def test_default_base_that_is_here_is_not_pulled(fake: FakeDocker) -> None:
    fake.add_image(DEFAULT)
    assert fake.build().returncode == 0
    assert fake.base() == DEFAULT
    assert fake.calls("pull") == []


def test_default_base_is_pulled(fake: FakeDocker) -> None:
    assert fake.build(PULL="works").returncode == 0
    assert fake.base() == DEFAULT


def test_standin_when_the_base_cannot_be_pulled(fake: FakeDocker) -> None:
    built = fake.build()
    assert built.returncode == 0
    assert fake.base() == STANDIN
    message = f"{DEFAULT} cannot be pulled (no such host): building on the stand-in base {STANDIN}."
    assert built.stderr == f"build_and_push.sh: {message}\n"


def test_pull_that_failed_is_not_tried_again(fake: FakeDocker) -> None:
    fake.build()
    fake.build()
    assert len(fake.calls("pull")) == 1
    assert all(f"BASE_IMAGE={STANDIN}" in call for call in fake.calls("build"))


def test_standin_that_cannot_be_made_ends_the_build(fake: FakeDocker) -> None:
    standin = fake.checkout.path / "docker" / "standin-base.sh"
    standin.write_text(f"#!/bin/sh\n{NAMES_STANDIN}echo 'standin-base.sh: needs root' >&2\nexit 1\n")
    built = fake.build()
    assert built.returncode == 1
    assert built.stderr.endswith("standin-base.sh: needs root\n")
    assert fake.calls("build") == []
    assert not (fake.checkout.path / "build" / "base-image").exists()


def test_network_settings_go_to_the_build_by_name(fake: FakeDocker) -> None:
    fake.build(PIP_INDEX_URL="https://me:secret@index.example.com/simple", https_proxy="http://proxy.example.com:1")
    (call,) = fake.calls("build")
    assert "--build-arg PIP_INDEX_URL --build-arg https_proxy" in call
    assert "secret" not in call
    assert "http_proxy" not in call.replace("https_proxy", "")


@pytest.mark.parametrize("name", ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_ca_bundle_goes_to_the_build_context_and_goes_away_again(fake: FakeDocker, tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    copied = fake.checkout.path / "docker" / "certs" / "host-ca-bundle.crt"
    assert fake.build(**{name: str(bundle)}).returncode == 0
    assert copied.read_text() == "certificates"
    assert fake.checkout.git("status", "--porcelain") == ""
    assert fake.build().returncode == 0
    assert not copied.exists()


def test_ca_bundle_that_is_missing(fake: FakeDocker) -> None:
    assert_one_sentence(fake.build(PIP_CERT="/nowhere.pem"), "PIP_CERT=/nowhere.pem", "correct or unset it")


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://example.com/a/b.git", "https://example.com/a/b"),
        ("https://me:token@example.com/a/b", "https://example.com/a/b"),
        ("git@example.com:a/b.git", "https://example.com/a/b"),
        ("ssh://git@example.com:2222/a/b", "https://example.com/a/b"),
        ("/srv/git/b", "unknown"),
        (None, "unknown"),
    ],
)
def test_version_and_source_are_those_of_the_checkout(fake: FakeDocker, url: str | None, source: str) -> None:
    if url:
        fake.checkout.git("remote", "add", "origin", url)
    fake.build()
    (call,) = fake.calls("build")
    assert f"--build-arg VERSION=1.2.3 --build-arg SOURCE={source} " in call


def test_revision_is_the_commit(fake: FakeDocker) -> None:
    fake.build()
    (fake.checkout.path / "content").write_text("changed")
    fake.build()
    clean, dirty = fake.calls("build")
    assert f"REVISION={fake.checkout.head} " in clean + " "
    assert f"REVISION={fake.checkout.head}-dirty" in dirty


def test_the_image_is_for_sagemaker_on_any_engine(fake: FakeDocker) -> None:
    fake.build(BASE_IMAGE="mine:1", ENGINE="arm64")
    assert "--platform linux/amd64 " in fake.calls("build")[0]


def test_a_local_image_is_for_the_platform_of_the_engine(fake: FakeDocker) -> None:
    built = fake.build("--local", BASE_IMAGE="mine:1", ENGINE="arm64")
    assert "--platform linux/arm64 " in fake.calls("build")[0]
    assert "building for linux/arm64, for local mode only" in built.stderr
    fake.build("--local", BASE_IMAGE="mine:1", ENGINE="arm64", PLATFORM="linux/amd64")
    assert "--platform linux/amd64 " in fake.calls("build")[1]


def test_another_platform_is_refused(fake: FakeDocker) -> None:
    assert_one_sentence(
        fake.build(BASE_IMAGE="mine:1", PLATFORM="windows/amd64"), "PLATFORM=windows/amd64: give linux/"
    )


def test_a_base_of_another_platform_is_pulled_again(fake: FakeDocker) -> None:
    fake.add_image(DEFAULT)
    fake.build(PULL="works", PLATFORM="linux/arm64")
    assert fake.calls("pull") == [f"pull --quiet --platform linux/arm64 {DEFAULT}"]


def test_a_builder_in_a_container_loads_the_image(fake: FakeDocker) -> None:
    built = fake.build(BUILDX="yes", BUILDER="container")
    assert built.returncode == 0, built.stderr
    (call,) = fake.calls("build")
    assert "--load" in call


def test_a_builder_that_keeps_the_image_is_said_to(fake: FakeDocker) -> None:
    fake.add_image(DEFAULT)
    for _ in range(2):
        built = fake.build(BUILDER="container")
        assert_one_sentence(built, "the engine does not have sagemaker-text-classification:local", "docker buildx use")
        fake.add_image("sagemaker-text-classification:local")  # of an earlier build
