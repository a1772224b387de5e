from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import checkpoint
from checkpoint import MANIFEST, STATE, Checkpoints, Content
from failures import PlatformError


def content(number: int) -> Content:
    return Content({"model": {"w": torch.full((7, 11), float(number))}, "ranks": {"r": torch.arange(5)}}, {"n": number})


def newest(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.newest()
    if found is None:
        return None
    step, read = found
    assert read.state["n"] == step
    assert torch.equal(read.tensors["model"]["w"], torch.full((7, 11), float(step)))
    assert torch.equal(read.tensors["ranks"]["r"], torch.arange(5))
    return step


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """With the checkpoints of steps 10 and 20."""
    made = Checkpoints(tmp_path / "checkpoints")
    made.write(10, content(10))
    made.write(20, content(20))
    return made


def test_the_newest_is_read_and_the_two_newest_are_kept(checkpoints: Checkpoints) -> None:
    assert newest(checkpoints) == 20
    checkpoints.write(100, content(100))
    assert newest(checkpoints) == 100
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["step-100", "step-20"]


def test_nothing_is_there_before_the_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").newest() is None
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "step-5.writing").mkdir()
    (tmp_path / "x.sagemaker-uploaded").touch()
    assert Checkpoints(tmp_path).newest() is None


def test_strangers_are_ignored(checkpoints: Checkpoints) -> None:
    (checkpoints.directory / "step-99.sagemaker-uploading").touch()
    (checkpoints.directory / "step-20" / "model.safetensors.sagemaker-uploaded").touch()
    (checkpoints.directory / "step-30.writing").mkdir()
    assert newest(checkpoints) == 20


def cut(to: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: to(path.stat().st_size)])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def older(path: Path) -> None:
    shutil.copy(path.parent.parent / "step-10" / path.name, path)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


DAMAGES = {
    "to nothing": cut(lambda size: 0), "to half": cut(lambda size: size // 2), "by a byte": cut(lambda size: size - 1),
    "flipped": flip, "grown": grow, "deleted": Path.unlink, "older": older,
}  # fmt: skip
FILES = ("model.safetensors", "ranks.safetensors", STATE, MANIFEST)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_checkpoint_is_never_loaded(checkpoints: Checkpoints, file: str, damage: str) -> None:
    path = checkpoints.directory / "step-20" / file
    before = path.read_bytes()
    DAMAGES[damage](path)
    is_same = path.exists() and path.read_bytes() == before  # ranks.safetensors is the same at both steps
    # White space behind the manifest's JSON changes nothing that it says.
    is_whole = is_same or (file == MANIFEST and damage == "grown")
    assert newest(checkpoints) == (20 if is_whole else 10)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"files": {}}', '{"files": {"../x": {}}}', '{"files": [1]}', "\xff"])
def test_a_manifest_that_says_nothing_is_not_believed(checkpoints: Checkpoints, manifest: str) -> None:
    (checkpoints.directory / "step-20" / MANIFEST).write_bytes(manifest.encode("latin-1"))
    assert newest(checkpoints) == 10


def test_any_part_of_the_files_alone_is_never_loaded(checkpoints: Checkpoints) -> None:
    whole = checkpoints.directory / "step-20"
    names = sorted(path.name for path in whole.iterdir())
    assert len(names) == 4
    for mask in range(2 ** len(names) - 1):
        part = checkpoints.directory / "step-30"
        part.mkdir()
        for number, name in enumerate(names):
            if mask >> number & 1:
                shutil.copy(whole / name, part / name)
        assert newest(checkpoints) == 20
        shutil.rmtree(part)


def test_none_whole_is_an_error_and_not_a_new_start(checkpoints: Checkpoints) -> None:
    for step in (10, 20):
        (checkpoints.directory / f"step-{step}" / MANIFEST).unlink()
    with pytest.raises(PlatformError, match="none of the 2 checkpoints in .* is whole; restore one from S3, or empty"):
        checkpoints.newest()


def test_a_write_that_fails_leaves_the_others_whole(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(30, content(30))
    assert newest(checkpoints) == 20
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["step-10", "step-20"]


def test_the_same_step_can_be_written_again(checkpoints: Checkpoints) -> None:
    checkpoints.write(20, content(20))
    assert newest(checkpoints) == 20


def test_a_removal_that_was_interrupted_leaves_nothing_that_looks_whole(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    checkpoints._remove(checkpoints.directory / "step-20")
    assert newest(checkpoints) == 10


def test_no_pickle_is_written(checkpoints: Checkpoints) -> None:
    folder = checkpoints.directory / "step-20"
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / MANIFEST).read_text())["files"].keys() == {path.name for path in folder.iterdir()} - {
        MANIFEST
    }
