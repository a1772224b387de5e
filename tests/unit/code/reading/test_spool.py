from __future__ import annotations

import errno
import os
import re
import resource
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from support.limits import lowered
from text_classifier.contract.errors import PlatformError
from text_classifier.reading.batch import Batch
from text_classifier.reading.columns import Columns
from text_classifier.reading.piece import End, Job, Piece
from text_classifier.reading.pieces import Task
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.spool import Spool
from text_classifier.reading.table import DEFAULT_OPTIONS
from text_classifier.reading.worker import read_task

#: More than a file's buffer.
TEXT = b"x" * (1 << 21)


def sentence(folder: Path) -> str:
    return rf"the texts cannot be written to {re.escape(str(folder))} \(File too large\); give the job a larger volume"


@pytest.fixture
def is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tempfile looks for a folder that it can write to, and finds none on a full disk."""

    def fail() -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)


@pytest.mark.usefixtures("is_full")
def test_a_full_disk_is_one_sentence_that_names_the_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "train.texts")
    with lowered(resource.RLIMIT_FSIZE, 1_000), pytest.raises(PlatformError, match=sentence(tmp_path)):
        spool.append(TEXT)


def test_a_full_disk_under_temporary_files_is_the_same_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool(None, "train.texts")
    request.getfixturevalue("is_full")
    with lowered(resource.RLIMIT_FSIZE, 1_000), pytest.raises(PlatformError, match=sentence(tmp_path)):
        spool.append(TEXT)


@pytest.mark.usefixtures("is_full")
def test_a_process_that_reads_ends_with_the_same_sentence(tmp_path: Path) -> None:
    rows = tmp_path / "a.tsv"
    rows.write_text("text\tlabel\n" + "good\ta\n" * 1_000)
    texts = tmp_path / "texts"
    texts.touch()
    task = Task(((0, Piece(SourceFile(rows, "a.tsv"))),), None)
    with lowered(resource.RLIMIT_FSIZE, 1_000):
        *_, (_, end) = read_task(task, Job(Columns(), DEFAULT_OPTIONS, skips=False), str(texts), "FOLDER")
    assert isinstance(end, End) and re.match(sentence(Path("FOLDER")), str(end.error))
    assert isinstance(read_task(task, Job(Columns(), DEFAULT_OPTIONS, skips=False), str(texts), "FOLDER")[0][1], Batch)


def test_too_many_open_files_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    os.close(free := os.dup(0))
    with lowered(resource.RLIMIT_NOFILE, free):
        for folder in (tmp_path, None):
            with pytest.raises(OSError, match="Too many open files"):
                Spool(folder, "train.texts")
