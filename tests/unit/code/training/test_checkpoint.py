from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from support.users import closed
from text_classifier.contract.errors import PlatformError
from text_classifier.training import checkpoint
from text_classifier.training.checkpoint import MANIFEST, STATE, Checkpoints, Content


def content(number: int) -> Content:
    def tensors(offset: float) -> dict[str, torch.Tensor]:
        return {"w": torch.full((7, 11), number + offset)}

    files = {"model": tensors(0), "best": tensors(0.25), "optimizer": tensors(0.5), "ranks": {"r": torch.arange(5)}}
    return Content(files, {"n": number})


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


def test_what_a_killed_process_has_left_is_removed(checkpoints: Checkpoints) -> None:
    (checkpoints.directory / "step-25.writing").mkdir()
    checkpoints.write(30, content(30))
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["step-20", "step-30"]


def test_a_closed_checkpoint_has_no_size(checkpoints: Checkpoints) -> None:
    held = checkpoints.held_bytes()
    with closed(checkpoints.directory / "step-20"):
        assert 0 < checkpoints.held_bytes() < held


def test_a_bug_is_not_taken_for_a_full_disk(checkpoints: Checkpoints) -> None:
    with pytest.raises(TypeError):
        checkpoints.write(30, Content({}, {"n": torch.ones(1)}))
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["step-10", "step-20"]


def cut(to: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: to(path.stat().st_size)])


def older(path: Path) -> None:
    shutil.copy(path.parent.parent / "step-10" / path.name, path)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def flip(place: Callable[[int], int]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place(len(data))] ^= 1
        path.write_bytes(data)

    return apply


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES = {
    "to nothing": cut(lambda size: 0), "to half": cut(lambda size: size // 2), "by a byte": cut(lambda size: size - 1),
    "first byte": flip(lambda size: 0), "middle byte": flip(lambda size: size // 2),
    "last byte": flip(lambda size: size - 1), "zeros": zero, "grown": grow, "deleted": Path.unlink, "older": older,
}  # fmt: skip
FILES = ("model.safetensors", "best.safetensors", "optimizer.safetensors", "ranks.safetensors", STATE, MANIFEST)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_checkpoint_is_never_loaded(checkpoints: Checkpoints, file: str, damage: str) -> None:
    path = checkpoints.directory / "step-20" / file
    before = path.read_bytes()
    DAMAGES[damage](path)
    is_same = path.exists() and path.read_bytes() == before  # ranks.safetensors is the same at both steps
    # White space after the JSON of the manifest does not change its content.
    is_complete = is_same or (file == MANIFEST and damage == "grown")
    assert newest(checkpoints) == (20 if is_complete else 10)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"files": {}}', '{"files": {"../x": {}}}', '{"files": [1]}', "\xff"])
def test_a_manifest_that_says_nothing_is_not_believed(checkpoints: Checkpoints, manifest: str) -> None:
    (checkpoints.directory / "step-20" / MANIFEST).write_bytes(manifest.encode("latin-1"))
    assert newest(checkpoints) == 10


def test_a_partial_restore_gives_the_newest_complete_one_or_an_error(tmp_path: Path) -> None:
    """S3 gives back the files of several checkpoints in any order, and a job may start before all are there."""
    written = Checkpoints(tmp_path / "written")
    written.write(10, content(10))
    written.write(20, content(20))
    names = sorted(path.name for path in (written.directory / "step-20").iterdir())
    chance = random.Random(7)
    restored_count = errors = 0
    for number in range(200):
        restored = Checkpoints(tmp_path / str(number))
        complete = [0]
        for step in (10, 20):
            folder = restored.directory / f"step-{step}"
            folder.mkdir(parents=True)
            present = chance.sample(names, chance.choice([len(names), chance.randrange(len(names))]))
            for name in present:
                shutil.copy(written.directory / folder.name / name, folder / name)
            torn = chance.choice(present) if present and chance.random() < 0.3 else None
            if torn:
                (folder / torn).write_bytes((folder / torn).read_bytes()[: -chance.randint(1, 9)])
            if len(present) == len(names) and not torn:
                complete.append(step)
        if max(complete):
            assert newest(restored) == max(complete)
            restored_count += 1
        else:
            with pytest.raises(PlatformError, match="is complete"):
                restored.newest()
            errors += 1
    assert min(restored_count, errors) > 40


def test_none_complete_is_an_error_and_not_a_new_start(checkpoints: Checkpoints) -> None:
    for step in (10, 20):
        (checkpoints.directory / f"step-{step}" / MANIFEST).unlink()
    with pytest.raises(
        PlatformError, match="none of the 2 checkpoints in .* is complete; restore one from S3, or empty"
    ):
        checkpoints.newest()


def test_a_failed_write_leaves_the_others_complete(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(30, content(30))
    assert newest(checkpoints) == 20
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["step-10", "step-20"]


def test_the_same_step_can_be_written_again(checkpoints: Checkpoints) -> None:
    checkpoints.write(20, content(20))
    assert newest(checkpoints) == 20


def test_an_interrupted_removal_leaves_nothing_that_looks_complete(
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
