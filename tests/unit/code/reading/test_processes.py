"""Rows, errors and notes do not depend on how the files were divided, nor on how many processes read them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from support.amazon_reviews import write
from text_classifier.contract.errors import DataError, JobError, PlatformError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import pieces, processes, worker
from text_classifier.reading.columns import Columns
from text_classifier.reading.piece import Job
from text_classifier.reading.pieces import Task
from text_classifier.reading.table import DEFAULT_OPTIONS


class Here:
    """A worker without a process of its own."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def read(self, task: Task, texts: Any) -> worker.Found:
        return worker._read(task, self._job, f"/proc/{os.getpid()}/fd/{texts.fileno()}")

    def close(self) -> None:
        pass


def found(channel: Path, **settings: str) -> Any:
    """All that reading a channel gives, or the sentence that refuses it."""
    try:
        data = read_data({"train": channel}, parse(settings))
    except JobError as error:
        return type(error), str(error)
    columns = ("targets", "characters", "exact", "near", "groups", "slices")
    rows = [
        (*[getattr(split, name).tolist() for name in columns], split.texts[:], split.places[:], split.slice_values)
        for split in data.splits.values()
    ]
    return repr((rows, data.classes, data.report))


def table(delimiter: str, end: str = "\n") -> bytes:
    texts = ["plain", "caf\u00e9", 'a "b" c', "two\nlines", "a, b; c", "", "\u3000", "with\r\nboth", "x" * 300]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(("id", "text", "label", "group", "slice"))
    writer.writerows((n, texts[n % len(texts)], "abc"[n % 3], f"g{n % 5}", f"s{n % 2}") for n in range(120))
    return out.getvalue().encode()


def plain() -> bytes:
    rows = "".join(f'{n}\ttext {n}, 5" wide\t{"ab"[n % 2]}\tg{n % 5}\ts\n' for n in range(200))
    return b"id\ttext\tlabel\tgroup\tslice\n" + rows.encode()


GOOD = {
    "csv": table(","),
    "crlf": table(";", "\r\n"),
    "quoted tsv": table("\t"),
    "tsv": plain(),
    "joined": b"".join([plain(), b"\xef\xbb\xbf", plain()]),
    "blank lines": plain().replace(b"\n", b"\n\n"),
    "utf-16": table(",").decode().encode("utf-16"),
    "gzip": gzip.compress(table(",")),
    "json lines": b"".join(json.dumps({"text": f"t{n}", "label": n % 3}).encode() + b"\n" for n in range(90)),
    "json array": json.dumps([{"text": f"t{n}", "label": n % 3} for n in range(90)]).encode(),
    "fasttext": b"".join(b"__label__%d text %d\n" % (n % 2, n) for n in range(90)),
}

#: What is put between the lines of a file.
FAULTS = [
    b'x,"y\n',
    b'"open,a,b\n',
    b'x","y\n',
    b"\xff\xfe,b\n",
    b"\0,b,c,d,e\n",
    b"1\t2\n",
    b"a\rb\n",
    b'"z""\n',
    b"{\n",
]

SETTINGS: list[dict[str, str]] = [
    {},
    {"bad_rows": "skip"},
    {"bad_rows": "skip", "group_column": "group", "slice_column": "slice", "id_column": "id"},
    {"label_map": "a=x;b=y", "unmapped": "drop"},
    {"task": "regression"},
    {"encoding": "auto"},
]


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read small files as large ones are read, by so many workers."""

    def read(count: int, channel: Path, *, raises: bool = False, **settings: str) -> Any:
        monkeypatch.setattr(processes, "process_count", lambda files: count)
        monkeypatch.setattr(processes, "Worker", Here)
        monkeypatch.setattr(pieces, "PART", 150)
        if raises:
            read_data({"train": channel}, parse(settings))
        return found(channel, **settings)

    return read


@pytest.mark.parametrize("kind", GOOD)
def test_good_and_damaged_files_are_read_alike_by_any_number_of_workers(
    kind: str, divided: Any, tmp_path: Path
) -> None:
    channel, chance = tmp_path / "train", random.Random(kind)
    channel.mkdir()
    for number in range(6):
        content = GOOD[kind]
        for _ in range(number % 4):
            place = content.find(b"\n", chance.randrange(len(content))) + 1
            content = content[:place] + chance.choice(FAULTS) + content[place:]
        (channel / "a.csv").write_bytes(content)
        (channel / "b.csv").write_bytes(GOOD[kind])
        settings = SETTINGS[number % len(SETTINGS)]
        expected = found(channel, **settings)
        for count in (1, 2, 3, 7):
            assert divided(count, channel, **settings) == expected, (count, settings, content)


def test_parts_end_within_records(divided: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a line within quotes looks like a record, the file is divided wrongly, and read anew from there."""
    cut: list[int] = []
    own = worker.read_piece

    def spy(*arguments: Any) -> Any:
        for batch in own(*arguments):
            if getattr(batch, "cut_at", None) is not None:
                cut.append(batch.cut_at)
            yield batch

    monkeypatch.setattr(worker, "read_piece", spy)
    lines = "".join(f"line {n},a\n" for n in range(40))
    text = "text,label\n" + f'"{lines}",a\nshort,b\n' * 4 + "more,a\nrest,b\n" * 30
    (tmp_path / "a.csv").write_text(text)
    expected = found(tmp_path)
    assert "two" not in expected and divided(2, tmp_path) == expected
    assert cut


def test_many_files_are_read_alike(divided: Any, tmp_path: Path) -> None:
    for kind in ("pos", "neg"):
        (tmp_path / kind).mkdir()
        for number in range(30):
            (tmp_path / kind / f"{number}.txt").write_text(f"{kind} {number}" * (number % 4))
    expected = found(tmp_path)
    assert "pos 29" in expected and divided(3, tmp_path) == expected
    (tmp_path / "pos" / "3.txt").write_bytes(b"\xff")
    assert divided(3, tmp_path) == found(tmp_path)


def test_a_file_without_the_header_is_found_by_any_worker(divided: Any, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.csv").write_bytes(
            table(",") if number != 4 else b"".join(table(",").split(b"\n", 1)[1:])
        )
    refused = found(tmp_path)
    assert "has no header, unlike" in refused[1] and divided(3, tmp_path) == refused


def test_processes_read_what_one_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tsv", 300)
    (tmp_path / "b.tsv").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    expected = found(tmp_path)
    monkeypatch.setattr(processes, "process_count", lambda files: 2)
    monkeypatch.setattr(pieces, "PART", 20_000)
    assert found(tmp_path) == expected


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    reader = worker.Worker(Job(Columns(), DEFAULT_OPTIONS, skips=False))
    reader._process.kill()
    with (tmp_path / "texts").open("w+b") as texts, pytest.raises(PlatformError, match="was killed, most likely"):
        reader.read(Task((), None), texts)
    reader.close()


def test_a_process_whose_parent_was_killed_ends_silently() -> None:
    own, other = Pipe()
    command = [sys.executable, "-m", worker.__name__, str(other.fileno())]
    process = subprocess.Popen(command, pass_fds=[other.fileno()], stderr=subprocess.PIPE)
    other.close()
    own.send((Task((), None), Job(Columns(), DEFAULT_OPTIONS, skips=False), "/nowhere/texts"))
    own.close()
    assert process.communicate(timeout=60) == (None, b"") and process.returncode == 0


def test_an_error_ends_the_processes_at_once(divided: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Here] = []
    monkeypatch.setattr(Here, "close", lambda self: closed.append(self))
    (tmp_path / "a.tsv").write_bytes(b"text\tlabel\nx\ta\n1\n2\n3\n" + b"good\ta\n" * 500)
    with pytest.raises(DataError, match="line 3 has 1 field, the header has 2") as refused:
        divided(3, tmp_path, raises=True)
    assert len(closed) == 3 and refused.traceback  # which keeps the frames alive


def test_small_files_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "Worker", None)
    write(tmp_path / "a.tsv", 300)
    assert len(found(tmp_path)) > 1_000
