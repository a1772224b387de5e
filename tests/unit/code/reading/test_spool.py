from __future__ import annotations

import errno
import os
import random
import re
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from support.limits import lowered
from text_classifier.contract.errors import PlatformError
from text_classifier.reading.batch import Batch, Collector
from text_classifier.reading.columns import Chosen, Columns
from text_classifier.reading.piece import End, Piece, ReadSpec
from text_classifier.reading.pieces import ReadTask
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.spool import Appender, Spool
from text_classifier.reading.table import DEFAULT_OPTIONS
from text_classifier.reading.worker import read_pieces

TEXT = b"x" * 2_000


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
    task = ReadTask(((0, Piece(SourceFile(rows, "a.tsv"))),), None)
    with lowered(resource.RLIMIT_FSIZE, 1_000):
        *_, (_, end) = read_pieces(task, ReadSpec(Columns(), DEFAULT_OPTIONS, skips=False), str(texts), Path("FOLDER"))
    assert isinstance(end, End) and re.match(sentence(Path("FOLDER")), str(end.error))
    assert isinstance(
        read_pieces(task, ReadSpec(Columns(), DEFAULT_OPTIONS, skips=False), str(texts), Path("FOLDER"))[0][1], Batch
    )


def test_too_many_open_files_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    os.close(free := os.dup(0))
    with lowered(resource.RLIMIT_NOFILE, free):
        for folder in (tmp_path, None):
            with pytest.raises(OSError, match="Too many open files"):
                Spool(folder, "train.texts")


def batch(*texts: bytes) -> Batch:
    collector = Collector(None)
    collector.chosen = Chosen(("text",), ("label",))
    for number, text in enumerate(texts):
        collector.add(number, number, (text.decode(), "a"))
    return collector.take("line")


def test_several_append_at_once_and_each_finds_its_texts(tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        spool = Spool(folder, "train.texts")

        def append(writer: int, spool: Spool = spool) -> list[tuple[Batch, Batch]]:
            chance = random.Random(writer)
            with closing(Appender(spool.path, spool.folder)) as texts:
                own = [batch(*[b"%d" % writer * chance.randrange(2_000)] * chance.randrange(4)) for _ in range(100)]
                return [(each, texts.store(each)) for each in own]

        with ThreadPoolExecutor(4) as threads:
            pairs = [pair for of_writer in threads.map(append, range(4)) for pair in of_writer]
        pairs += [(each, spool.store(each)) for each in (batch(), batch(b"last", b""))]
        for whole, stored in pairs:
            assert not stored.content and spool.load(stored).content == whole.content
            assert spool.load(stored).starts.tolist() == whole.starts.tolist()
            spool.add(stored.starts, stored.lengths)
        found = spool.strings()
        expected = b"".join(whole.content for whole, _ in pairs)
        assert "".join(found).encode() == expected and len(found.content) == len(expected) > 100_000


def test_what_a_full_disk_has_cut_is_written_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "train.texts")
    with lowered(resource.RLIMIT_FSIZE, 1_000), pytest.raises(PlatformError):
        spool.append(TEXT)
    start = spool.append(TEXT)
    spool.add(np.array([start]), np.array([len(TEXT)]))
    assert start == 1_000 and spool.strings()[:] == [TEXT.decode()]
