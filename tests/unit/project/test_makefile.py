"""The Makefile's own words, in a folder with stand-ins for what it calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    programs = {
        "docker/ensure-engine.sh": "",
        "build_and_push.sh": 'echo "building" >&2; [ "$1" = build ] || echo "registry/name@sha256:1"',
        ".venv/bin/python": """printf '[%s]' "$@"; echo""",
    }
    for name, script in programs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without the settings of the make that runs the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--silent", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_help_is_the_default_and_names_every_target(folder: Path) -> None:
    listed = make(folder).stdout
    targets = re.findall(r"^([a-z0-9-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in listed.splitlines()] == targets
    assert "test-sdk3" in targets


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ((), "make build push"),
        (("ROLE=r", "DATA=d"), "make build push"),
        (("pushed", "DATA=d"), "ROLE="),
        (("pushed", "ROLE=r"), "DATA="),
    ],
)
def test_train_refuses_without_what_it_needs(folder: Path, arguments: tuple[str, ...], missing: str) -> None:
    if "pushed" in arguments:
        (folder / "build").mkdir()
        (folder / "build" / "image-uri").write_text("registry/name@sha256:1\n")
    result = make(folder, "train", *(argument for argument in arguments if "=" in argument))
    assert result.returncode != 0
    assert result.stdout == ""
    sentence, make_says = result.stderr.splitlines()
    assert missing in sentence
    assert "train" in make_says


def test_train_uses_the_digest_of_the_last_push(folder: Path) -> None:
    assert make(folder, "push").stdout == "registry/name@sha256:1\n"
    result = make(folder, "train", "ROLE=r", "DATA=my reviews.tsv", "INSTANCE_COUNT=2")
    assert result.stdout == (
        "[launch.py][train][--image][registry/name@sha256:1][--role][r][--data][my reviews.tsv][--instance-count][2]\n"
    )


def test_a_failed_push_keeps_no_digest(folder: Path) -> None:
    (folder / "build_and_push.sh").write_text("#!/usr/bin/env bash\nexit 1\n")
    assert make(folder, "push").returncode != 0
    assert not (folder / "build" / "image-uri").exists()


def test_hyperparameters_reach_the_launcher_unchanged_by_the_shell(folder: Path) -> None:
    result = make(folder, "local-test", "DATA=my.tsv", "HP=epochs=2 label_map=1,2=bad;4,5=good")
    assert result.stdout.splitlines()[-1] == (
        "[launch.py][local][--data][my.tsv][epochs=2][label_map=1,2=bad;4,5=good]"
    )
