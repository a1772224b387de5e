from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.limits import lowered
from text_classifier.contract.errors import JobError, PlatformError, SettingsError
from text_classifier.preparation.files import (
    map_array,
    map_content,
    map_strings,
    published,
    wait_for,
    write_array,
    write_bounds,
    write_strings,
)
from text_classifier.reading.strings import Strings


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.int64),
        np.zeros(0, dtype=np.uint64),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.uint32)[::2],
    ],
)
def test_an_array_is_mapped_as_it_was_written(tmp_path: Path, array: np.ndarray) -> None:
    write_array(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.dtype == array.dtype and not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


@pytest.mark.parametrize(
    "strings",
    [
        ["a", "", "gr\u00fcn\u2028\n\U0001f600", "\0"],
        [],
        ["", ""],
    ],
    ids=["some", "none", "empty"],
)
def test_strings_are_looked_up_as_they_were_written(tmp_path: Path, strings: list[str]) -> None:
    write_strings(tmp_path / "s", strings)
    assert map_strings(tmp_path / "s")[:] == strings


def test_strings_share_the_content_of_others(tmp_path: Path) -> None:
    stored = Strings.of(["a", "", "gr\u00fcn"])
    write_strings(tmp_path / "all", stored)
    write_bounds(tmp_path / "some", stored.take(np.array([2, 0])))
    assert map_strings(tmp_path / "some", map_content(tmp_path / "all"))[:] == ["gr\u00fcn", "a"]
    assert not (tmp_path / "some").exists()


def test_what_is_mapped_keeps_no_file_open(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", np.arange(3))
    write_strings(tmp_path / "s", ["a", "b"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    mapped, strings = map_array(tmp_path / "a.npy"), map_strings(tmp_path / "s")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for path in tmp_path.iterdir():
        path.unlink()
    assert mapped.tolist() == [0, 1, 2] and strings[1] == "b"


def test_a_folder_is_published_whole(tmp_path: Path) -> None:
    with published(tmp_path / "rows") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "rows").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert (tmp_path / "rows" / "a").read_text() == "a"


def write(folder: Path, *steps: Callable[[Path], None]) -> None:
    with published(folder) as aside:
        for step in steps:
            step(aside)


def fail(folder: Path) -> None:
    raise SettingsError("x")


@pytest.mark.parametrize("error", [fail, lambda folder: (folder / "none" / "b").write_text("b")])
def test_after_an_error_nothing_is_published(tmp_path: Path, error: Callable[[Path], None]) -> None:
    with pytest.raises(JobError):
        write(tmp_path / "rows", lambda folder: write_array(folder / "a", np.zeros(3)), error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "step",
    [
        lambda folder: write_array(folder / "a.npy", np.zeros(1_000)),
        lambda folder: write_strings(folder / "s", ["text"] * 1_000),
    ],
    ids=["array", "strings"],
)
def test_a_full_disk_is_one_sentence_and_publishes_nothing(tmp_path: Path, step: Callable[[Path], None]) -> None:
    sentence = rf"the prepared data cannot be written to {tmp_path.parent} \(File too large\); give the job a larger"
    with lowered(resource.RLIMIT_FSIZE, 1_000), pytest.raises(PlatformError, match=sentence):
        write(tmp_path / "rows", step)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_waits_until_a_folder_is_published(tmp_path: Path) -> None:
    found: list[Path] = []
    reader = threading.Thread(target=lambda: found.append(wait_for(tmp_path / "rows")))
    with published(tmp_path / "rows"):
        reader.start()
        reader.join(timeout=0.1)
        assert found == []
    reader.join()
    assert found == [tmp_path / "rows"]
