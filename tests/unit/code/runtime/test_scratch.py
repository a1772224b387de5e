"""Folders of live processes stay, those of dead ones go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from text_classifier.runtime.scratch import scratch_folder

PROCESS = """
import os, sys, time
from text_classifier.runtime.scratch import scratch_folder
folder = scratch_folder("prepared-")
(folder / "rows").write_text("x")
if sys.argv[1:] == ["fork"] and os.fork():
    os.kill(os.getpid(), 9)
print(folder, os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def start(*arguments: str) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder, which ends with its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().split()[0])


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_live_one_stays(temporary: Path) -> None:
    killed, left_over = start()
    live, in_use = start()
    (temporary / "prepared-file").touch()
    (temporary / "other-folder").mkdir()
    killed.kill()
    killed.wait()
    own = scratch_folder("prepared-")
    assert set(temporary.iterdir()) == {
        own, in_use, temporary / "prepared-file", temporary / "other-folder",
    }  # fmt: skip
    assert left_over.parent == temporary and (in_use / "rows").read_text() == "x"
    live.communicate()
    assert scratch_folder("prepared-") in temporary.iterdir() and not in_use.exists() and own.exists()


def test_a_process_that_was_forked_keeps_the_folder(temporary: Path) -> None:
    parent, folder = start("fork")
    assert parent.wait() == -9
    scratch_folder("prepared-")
    assert folder.exists()
    assert parent.stdin is not None
    parent.stdin.close()
    assert parent.stdout is not None and parent.stdout.read() == ""  # until the child has ended
    scratch_folder("prepared-")
    assert not folder.exists()


def test_a_file_system_without_locks_keeps_all_folders(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(38, "Function not implemented")

    (temporary / "prepared-old").mkdir()
    monkeypatch.setattr("fcntl.flock", refuse)
    assert scratch_folder("prepared-").is_dir()
    assert (temporary / "prepared-old").is_dir()
