"""Rows, errors and notes do not depend on how the files were divided, nor on how many processes read them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import signal
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import ipc, parquet

from support.amazon_reviews import write
from support.divided import Here, found, workers
from text_classifier.contract.errors import DataError, PlatformError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import delimited, pieces, processes, text_lines, worker
from text_classifier.reading.columns import Columns
from text_classifier.reading.piece import Piece, ReadSpec
from text_classifier.reading.pieces import ReadTask
from text_classifier.reading.sources import SourceFile, source
from text_classifier.reading.spool import Spool
from text_classifier.reading.table import DEFAULT_OPTIONS, Part


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


def named(n: int) -> bytes:
    """An object of other names than those before, and a blank line."""
    names = {"label " if n % 2 else "label": "ab"[n % 2], "text": f"t{n}", "by": {"id": n}, f"x{n}": [n]}
    return json.dumps(names).encode() + b"\r\n\n"


def frames(content: bytes, size: int) -> bytes:
    """Compressed with zstd in frames of `size` bytes, each below one that is skipped, as pzstd does."""
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0size"
    return b"".join(skipped + pyarrow.compress(part, codec="zstd", asbytes=True) for part in parts)


GOOD = {
    "csv": table(","),
    "crlf": table(";", "\r\n"),
    "quoted tsv": table("\t"),
    "tsv": plain(),
    "joined": b"".join([plain(), b"\xef\xbb\xbf", plain()]),
    "blank lines": plain().replace(b"\n", b"\n\n"),
    "utf-16": table(",").decode().encode("utf-16"),
    "gzip": gzip.compress(table(","), mtime=0),
    "zstd": pyarrow.compress(table(","), codec="zstd", asbytes=True),
    "zstd frames": frames(table(","), 700),
    "json frames": frames(b"".join(map(named, range(90))), 500),
    "json lines": b"".join(json.dumps({"text": f"t{n}", "label": n % 3}).encode() + b"\n" for n in range(90)),
    "json names": b"\xef\xbb\xbf" + b"".join(map(named, range(90))),
    "json array": json.dumps([{"text": f"t{n}", "label": n % 3} for n in range(90)]).encode(),
    "fasttext": b"".join(b"__label__%d text %d\n" % (n % 2, n) for n in range(90)),
}

#: Parquet files in row groups of few rows, with rows that cannot be used.
TEXTS = [f"text {n}" for n in range(120)]
PARQUET: dict[str, dict[str, Any]] = {
    "plain": {"text": TEXTS, "label": [n % 3 for n in range(120)]},
    "bad rows": {"text": TEXTS, "label": [None if n % 50 == 9 else "a" for n in range(120)]},
    "nested": {"text": TEXTS, "label": [{"of": "ab"[n % 2]} for n in range(120)]},
    "lists": {"text": TEXTS, "label": [["a", "b"][: n % 3] for n in range(120)]},
    "dictionary": {"text": TEXTS, "label": [n % 3 for n in range(120)]},
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


def divided(count: int, channel: Path, **settings: str) -> Any:
    """What so many workers find."""
    with workers(count):
        return found(channel, **settings)


@pytest.mark.parametrize("kind", GOOD)
def test_good_and_damaged_files_are_read_alike_by_any_number_of_workers(kind: str, tmp_path: Path) -> None:
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


def columnar(table: pyarrow.Table, path: Path, form: str, rows: int) -> None:
    """Write a file in row groups, or record batches, of so many rows."""
    if form == "parquet":
        parquet.write_table(table, path, row_group_size=rows)
        return
    options = ipc.IpcWriteOptions(compression="zstd" if rows % 2 else None)
    new = ipc.new_file if form == "arrow" else ipc.new_stream
    with path.open("wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)


FORMS = ("parquet", "arrow", "arrow stream")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", PARQUET)
def test_row_groups_are_read_alike_by_any_number_of_workers(kind: str, form: str, tmp_path: Path) -> None:
    channel, chance = tmp_path / "train", random.Random(kind)
    channel.mkdir()
    table = pyarrow.table(PARQUET[kind])
    if kind == "dictionary":
        table = table.set_column(0, "text", table["text"].dictionary_encode())
    settings = {"label_column": "label.of"} if kind == "nested" else {"task": "multi_label"} if kind == "lists" else {}
    for number in range(8):
        for name, size in (("a", 7), ("b", 50)):
            columnar(table, channel / name, form, size)
        if number > 2:  # a byte is changed
            content = bytearray((channel / "a").read_bytes())
            content[chance.randrange(len(content) // (number % 3 + 1))] ^= 1 << chance.randrange(8)
            (channel / "a").write_bytes(content)
        chosen = settings | ({"bad_rows": "skip"} if number % 2 else {}) | ({"encoding": "auto"} if number == 2 else {})
        expected = found(channel, **chosen)
        for count in (1, 2, 3, 7):
            assert divided(count, channel, **chosen) == expected, (count, chosen)


@pytest.mark.parametrize("form", FORMS)
def test_row_groups_are_divided(form: str, tmp_path: Path) -> None:
    columnar(pyarrow.table(PARQUET["plain"]), tmp_path / "a", form, 7)
    spec = ReadSpec(Columns(), DEFAULT_OPTIONS, skips=False)
    with workers(2, part=1_000):
        parts = [piece.part for task in pieces.read_tasks(source(tmp_path).files, spec, 2) for _, piece in task.pieces]
    assert len(parts) > 3 and [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]


def test_a_line_that_is_too_long_is_named_by_its_number_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_LINE", 1 << 20)
    good = "good" * 100
    for name, rows in (
        ("a.tsv", "text\tlabel\n" + f"{good}\ta\n" * 98),
        ("a.json", (json.dumps({"text": good, "label": 1}) + "\n") * 99),
    ):
        (tmp_path / name).write_text(rows + "x" * (1 << 21))
        expected = found(tmp_path)
        assert f"{name} line 100 is longer than" in expected[1]
        with workers(3, part=10_000):
            assert found(tmp_path) == expected
        (tmp_path / name).unlink()


def test_parts_end_within_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a line within quotes looks like a record, the file is divided wrongly, and read anew from there."""
    cut: list[Part] = []
    own = worker.read_piece

    def spy(*arguments: Any) -> Any:
        for batch in own(*arguments):
            if getattr(batch, "rest", None):
                cut.append(batch.rest)
            yield batch

    monkeypatch.setattr(worker, "read_piece", spy)
    lines = "".join(f"line {n},a\n" for n in range(40))
    text = "text,label\n" + f'"{lines}",a\nshort,b\n' * 4 + "more,a\nrest,b\n" * 30
    (tmp_path / "a.csv").write_text(text)
    expected = found(tmp_path)
    assert "two" not in expected and divided(2, tmp_path) == expected
    assert cut
    cut.clear()
    (tmp_path / "a.csv").write_bytes(frames(text.encode(), 100))
    assert divided(2, tmp_path) == expected
    assert cut


def test_quotes_far_below_are_read_alike_in_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_SAMPLE_LINES", 10)
    (header, *rows), above = table("\t").split(b"\n"), b"7\tplain\ta\tg\ts"
    (tmp_path / "a.tsv").write_bytes(b"\n".join([header, *[above] * 40, *rows]))
    expected = found(tmp_path)
    assert 'a "b" c' in expected and divided(3, tmp_path) == expected


def test_many_files_are_read_alike(tmp_path: Path) -> None:
    for kind in ("pos", "neg"):
        (tmp_path / kind).mkdir()
        for number in range(30):
            (tmp_path / kind / f"{number}.txt").write_text(f"{kind} {number}" * (number % 4))
    expected = found(tmp_path)
    assert "pos 29" in expected and divided(3, tmp_path) == expected
    (tmp_path / "pos" / "3.txt").write_bytes(b"\xff")
    assert divided(3, tmp_path) == found(tmp_path)


def test_a_file_without_the_header_is_found_by_any_worker(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.csv").write_bytes(
            table(",") if number != 4 else b"".join(table(",").split(b"\n", 1)[1:])
        )
    refused = found(tmp_path)
    assert "has no header, unlike" in refused[1] and divided(3, tmp_path) == refused


def test_processes_read_what_one_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tsv", 300)
    (tmp_path / "b.tsv").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    write(tmp_path / "c.json", 300, "2018")
    parquet.write_table(pyarrow.table(PARQUET["plain"]), tmp_path / "d.parquet", row_group_size=7)
    expected = found(tmp_path)
    monkeypatch.setattr(processes, "process_count", lambda files: 2)
    monkeypatch.setattr(pieces, "PART", 2_000)
    assert found(tmp_path) == expected


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGKILL, "was killed, most likely because the host ran out of memory; use an instance with more"),
        (
            signal.SIGSEGV,
            r"crashed \(SIGSEGV\) at train/a.csv, train/b.csv; write these rows in another format, and re",
        ),
    ],
)
def test_a_process_that_dies_is_named(number: int, sentence: str, tmp_path: Path) -> None:
    reader = worker.Worker(ReadSpec(Columns(), DEFAULT_OPTIONS, skips=False))
    reader._process.send_signal(number)
    read = [
        (index, Piece(SourceFile(tmp_path / name, f"train/{name}"))) for index, name in enumerate(("a.csv", "b.csv"))
    ]
    with pytest.raises(PlatformError, match=f"^a process that reads the data {sentence}"):
        reader.read(ReadTask((*read, read[-1]), None), Spool(tmp_path, "texts"))
    reader.close()


def test_a_process_whose_parent_was_killed_ends_silently() -> None:
    own, other = Pipe()
    command = [sys.executable, "-m", worker.__name__, str(other.fileno())]
    process = subprocess.Popen(command, pass_fds=[other.fileno()], stderr=subprocess.PIPE)
    other.close()
    own.send(
        (ReadTask((), None), ReadSpec(Columns(), DEFAULT_OPTIONS, skips=False), "/nowhere/texts", Path("/nowhere"))
    )
    own.close()
    assert process.communicate(timeout=60) == (None, b"") and process.returncode == 0


def test_an_error_ends_the_processes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Here] = []
    monkeypatch.setattr(Here, "close", lambda self: closed.append(self))
    (tmp_path / "a.tsv").write_bytes(b"text\tlabel\nx\ta\n1\n2\n3\n" + b"good\ta\n" * 500)
    with workers(3), pytest.raises(DataError, match="line 3 has 1 field, the header has 2") as refused:
        read_data({"train": tmp_path}, parse({}))
    assert len(closed) == 3 and refused.traceback  # which keeps the frames alive


def test_small_files_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "Worker", None)
    write(tmp_path / "a.tsv", 300)
    assert len(found(tmp_path)) > 1_000
