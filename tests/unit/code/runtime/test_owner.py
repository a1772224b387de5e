from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from text_classifier.contract.errors import PlatformError
from text_classifier.runtime import owner
from text_classifier.runtime.owner import Owner, give, provide_home, training_user

SOMEBODY = Owner(12345, 54321)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """A model folder that is SOMEBODY's, and two more that are root's."""
    if os.geteuid() != 0:
        pytest.fail("only root can become another user: run this test as root, as the image does")
    for parent in (tmp_path, *tmp_path.parents):
        if parent == tmp_path or parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)  # pytest's folders are root's alone
    made = [tmp_path / name for name in ("model", "output", "checkpoints")]
    for folder in made:
        folder.mkdir(mode=0o700)
    os.chown(made[0], SOMEBODY.uid, SOMEBODY.gid)
    return made


def test_a_model_folder_of_root_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert training_user(tmp_path, [tmp_path], []) is None
    assert capsys.readouterr().out == ""


def test_the_owner_gets_what_root_has_left(folders: list[Path], tmp_path: Path) -> None:
    old = folders[2] / "step-8" / "state.json"
    old.parent.mkdir()
    old.touch(mode=0o600)
    (folders[2] / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    (tmp_path / "twice").touch()
    (folders[2] / "second-name").hardlink_to(tmp_path / "twice")
    assert training_user(folders[0], folders, [tmp_path]) == SOMEBODY
    assert {path.stat().st_uid for path in (*folders, old, old.parent)} == {SOMEBODY.uid}
    assert {path.stat().st_uid for path in (tmp_path / "elsewhere", tmp_path / "twice")} == {0}
    read = subprocess.run(["cat", old], check=False, **SOMEBODY.process_options())
    assert read.returncode == 0


@pytest.mark.parametrize(("outputs", "reason"), [(True, "it cannot write"), (False, "it cannot read")])
def test_a_folder_that_the_owner_cannot_use_leaves_root_at_work(
    folders: list[Path], tmp_path: Path, outputs: bool, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    others = tmp_path / "others"
    others.mkdir(mode=0o700)
    os.chown(others, 777, 777)
    assert training_user(folders[0], [others] if outputs else folders, [others]) is None
    assert capsys.readouterr().out == (
        f"Training runs as root, not as user 12345, who owns {folders[0]}: {reason} {others}\n"
    )


def test_a_missing_capability_is_named(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(owner._CAPABILITIES, "NO_SUCH", 63)
    assert training_user(folders[0], folders, []) is None
    assert capsys.readouterr().out.endswith("the container has no CAP_NO_SUCH\n")
    give(folders[1], folders[0])
    assert folders[1].stat().st_uid == 0


def test_a_file_system_may_refuse_another_owner(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS does for root."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    give(folders[1], folders[0])
    assert folders[1].stat().st_uid == 0


def test_a_home_that_can_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "me")
    provide_home(None)
    assert (os.environ["HOME"], os.environ["USER"]) == (str(tmp_path), "me")


def test_a_home_that_cannot_be_written_is_replaced(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folders[1]))  # root's alone
    monkeypatch.setenv("USER", "me")  # so that it is restored
    del os.environ["USER"]
    provide_home(SOMEBODY)
    home = Path(os.environ["HOME"])
    assert home.stat().st_uid == SOMEBODY.uid
    assert os.environ["USER"] == str(SOMEBODY.uid)
    home.rmdir()


def test_no_place_for_a_home_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(PlatformError, match="no temporary folder can be created .*; mount /tmp writable"):
        provide_home(None)
