"""What the project takes from others is pinned, and what it tolerates for a time is looked at again."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from launcher.aws import ecr
from support import ROOT

DIGEST = "sha256:" + "4d" * 32
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_actions_are_pinned_by_commit_and_have_few_rights() -> None:
    assert WORKFLOWS
    for path in WORKFLOWS:
        used = re.findall(r"uses: *(.+)", path.read_text())
        assert used
        for action in used:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_the_base_image_is_pinned_by_digest() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"nvidia/cuda:[\w.-]+@sha256:[0-9a-f]{64}", base)


def test_no_allowed_finding_is_past_its_day() -> None:
    """Fails from the day on after which a finding has to be looked at again."""
    ecr.allowed_findings(datetime.now(UTC).date())


def pin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pin-base.sh with an engine that pulls any tag but "gone", and has a digest for all but "built"."""
    engine = folder / "docker"
    engine.write_text(
        f"""#!/usr/bin/env bash
name=${{!#}}
case "$1" in
    pull) [[ $name != *:gone ]] ;;
    image) [[ $name == *:built ]] || printf '%s\\n' "another/name@sha256:{"0" * 64}" "${{name%:*}}@{DIGEST}" ;;
esac
"""
    )
    engine.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "DOCKERFILE": str(folder / "Dockerfile")}
    script = [str(ROOT / "docker" / "pin-base.sh"), *arguments]
    return subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(f"ARG BASE_IMAGE=some/base:1@sha256:{'0' * 64}\nFROM ${{BASE_IMAGE}} AS build\nARG BASE_IMAGE\n")
    return path


@pytest.mark.parametrize(("arguments", "tag"), [((), "some/base:1"), (("some/base:2",), "some/base:2")])
def test_a_newer_base_is_written_into_the_dockerfile(dockerfile: Path, arguments: tuple[str, ...], tag: str) -> None:
    rest = dockerfile.read_text().partition("\n")[2]
    assert pin(dockerfile.parent, *arguments).returncode == 0
    assert dockerfile.read_text() == f"ARG BASE_IMAGE={tag}@{DIGEST}\n{rest}"
    assert pin(dockerfile.parent).stdout == f"pin-base.sh: {tag} is still {DIGEST}\n"


@pytest.mark.parametrize(
    ("tag", "sentence"),
    [
        ("some/base:gone", "some/base:gone cannot be pulled"),
        ("some/base:built", "the engine knows no digest of some/base:built"),
        ("some/base", "some/base: give NAME:TAG"),
        (f"some/base:1@{DIGEST}", "give NAME:TAG, without a digest"),
    ],
)
def test_a_base_without_a_digest_changes_nothing(dockerfile: Path, tag: str, sentence: str) -> None:
    before = dockerfile.read_text()
    done = pin(dockerfile.parent, tag)
    assert done.returncode == 1 and sentence in done.stderr
    assert dockerfile.read_text() == before
