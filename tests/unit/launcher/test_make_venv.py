"""launcher/make-venv.sh with an unsuitable Python: one sentence each, and no incomplete environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support import ROOT

SCRIPT = ROOT / "launcher" / "make-venv.sh"


def refusal(tmp_path: Path, python: str, *options: str, user: int = 1000) -> str:
    """Run the script with a fake Python and a failing apt-get as this user. Returns its last line."""
    programs = {"python": python, "id": f"echo {user}", "apt-get": "exit 1"}
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    result = subprocess.run(
        [str(SCRIPT), *options, str(tmp_path / "venv")],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "HOST_PYTHON": str(tmp_path / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert not (tmp_path / "venv").exists()
    return result.stderr.splitlines()[-1]


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    assert "not Python 3.11 or newer" in refusal(tmp_path, 'case "$2" in *version_info*) exit 1 ;; esac')


@pytest.mark.parametrize(("user", "advice"), [(1000, "the package python3-venv"), (0, "install it by hand")])
def test_a_python_without_venv_is_refused_where_it_cannot_be_added(tmp_path: Path, user: int, advice: str) -> None:
    assert advice in refusal(tmp_path, 'case "$2" in *ensurepip*) exit 1 ;; esac', user=user)


def test_the_headers_that_the_images_libraries_are_built_with_are_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, 'case "$2" in *Python.h*) exit 1 ;; esac', "--code")
    assert f"missing: the headers of {tmp_path / 'python'}; install what is missing" in said
    assert "python3-dev" in said


def test_usage() -> None:
    asked = subprocess.run([str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    assert asked.stdout.startswith("Usage: ")
    for wrong in ([], ["--no-such", "venv"], ["--code"]):
        assert subprocess.run([str(SCRIPT), *wrong], capture_output=True, check=False).returncode == 2
