"""Arrow files whose messages and footers lie about sizes: rows, or one sentence within little memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import ipc

from support.lies import outcomes, read_all, read_row_by_row
from text_classifier.reading import bounds

#: What 4 or 8 bytes in the metadata are replaced with. Of these cases, every so many is tried.
NUMBERS = {"<i": (-1, 0, 1, 2**31 - 1), "<q": (-1, 2**40, 2**62)}
STRIDE = 23

ROWS = 1_000
LABELS = pyarrow.array(["a", "b"] * (ROWS // 2))

#: A long text, and so many references to it.
LONG = pyarrow.array(["word " * 200_000])
REPEATED = pyarrow.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), LONG)


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ALWAYS", 1 << 26)
    monkeypatch.setattr(bounds, "TIMES", 10)


def written(columns: dict[str, Any], *, is_file: bool = True, rows: int | None = None, **options: Any) -> bytes:
    table, sink = pyarrow.table(columns), io.BytesIO()
    new = ipc.new_file if is_file else ipc.new_stream
    with new(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as file:
        file.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def hidden() -> bytes:
    """A large batch that comes after the end of the stream in the file, where only the footer leads to."""
    alike = pyarrow.array(["word " * 20_000]).take(pyarrow.array(np.zeros(ROWS, np.int32)))
    content = written({"text": alike, "label": LABELS}, compression="zstd")
    start = 8 + 8 + int.from_bytes(content[12:16], "little")  # after the magic bytes and the schema
    end = len(content) - 10 - int.from_bytes(content[-10:-6], "little")
    footer = content[end:].replace(struct.pack("<q", start), struct.pack("<q", start + 8))
    assert footer != content[end:]
    return content[:start] + b"\xff\xff\xff\xff\0\0\0\0" + content[start:end] + footer


def dictionaries() -> bytes:
    """Dictionaries that are added to, of which each is small."""
    sink, text = io.BytesIO(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    schema = pyarrow.schema({"text": text, "label": pyarrow.string()})
    options = ipc.IpcWriteOptions(compression="zstd", emit_dictionary_deltas=True)
    values: list[str] = []
    with ipc.new_stream(sink, schema, options=options) as file:
        for number in range(15):
            values.append(f"{number}" + "word " * 1_000_000)
            column = pyarrow.DictionaryArray.from_arrays(np.array([number], np.int32), pyarrow.array(values))
            file.write_batch(pyarrow.record_batch([column, LABELS[:1]], schema))
    return sink.getvalue()


def nulls(rows: int) -> bytes:
    """A column without buffers, which may have any number of rows."""
    content = written({"text": pyarrow.nulls(1_234_567), "label": pyarrow.nulls(1_234_567)}, is_file=False)
    return content.replace(struct.pack("<q", 1_234_567), struct.pack("<q", rows))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "hidden batch": (hidden, "decodes to more than 10 times its size"),
    "dictionaries": (dictionaries, "decodes to more than 10 times its size"),
    "nulls": (lambda: nulls(2**62), "decodes to more than 10 times its size"),
}

#: Columns of which one row stands for 100 GB.
VALUES: dict[str, Callable[[], Any]] = {
    "fixed list": lambda: pyarrow.FixedSizeListArray.from_arrays(REPEATED, len(REPEATED)),
    "lists in a dictionary": lambda: pyarrow.DictionaryArray.from_arrays(
        np.zeros(1, np.int32), pyarrow.ListArray.from_arrays(np.array([0, len(REPEATED)], np.int32), REPEATED)
    ),
    "list view": lambda: pyarrow.ListViewArray.from_arrays(
        np.zeros(1, np.int32), np.full(1, len(REPEATED), np.int32), REPEATED
    ),
    "map": lambda: pyarrow.MapArray.from_arrays(
        np.array([0, len(REPEATED)], np.int32), pyarrow.array(["key"] * len(REPEATED)), REPEATED
    ),
    "list of a union": lambda: pyarrow.ListArray.from_arrays(
        np.array([0, 100_000], np.int32),
        pyarrow.UnionArray.from_dense(
            pyarrow.array(np.zeros(100_000, np.int8)), pyarrow.array(np.zeros(100_000, np.int32)), [LONG]
        ),
    ),
    "list of structs": lambda: pyarrow.ListArray.from_arrays(
        np.array([0, len(REPEATED)], np.int32), pyarrow.StructArray.from_arrays([REPEATED], ["x"])
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_more_than_messages_seem_to_hold_is_refused(name: str, tmp_path: Path) -> None:
    make, expected = REFUSED[name]
    found = outcomes("a.arrow", [(name, make())], tmp_path, read_all)
    assert expected in found[name], found


@pytest.mark.parametrize("name", VALUES)
def test_one_value_of_many_is_refused(name: str, tmp_path: Path) -> None:
    content = written({"text": VALUES[name](), "label": LABELS[:1]})
    found = outcomes("a.arrow", [(name, content)], tmp_path, read_all)
    assert "has a row of 100,0" in found[name], found


def changed(content: bytes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The file with each number in its metadata, and what only looks like one, replaced."""

    def with_number(form: str, position: int, value: int) -> bytes:
        number = struct.pack(form, value)
        return content[:position] + number + content[position + len(number) :]

    for form, values in NUMBERS.items():
        for value in values:
            for position in range(8, len(content) - 8, struct.calcsize(form)):
                yield f"{form} {position}={value}", partial(with_number, form, position, value)


def test_any_number_in_the_metadata_may_lie(tmp_path: Path) -> None:
    rows = {
        "text": pyarrow.DictionaryArray.from_arrays(np.arange(40, dtype=np.int32) % 7, pyarrow.array(list("abcdefg"))),
        "label": ["a", "b"] * 20,
    }
    cases = [
        (f"{is_file} {options} {label}", make)
        for is_file in (True, False)
        for options in ({}, {"compression": "zstd"})
        for label, make in changed(written(rows, is_file=is_file, rows=20, **options))
    ]
    found = outcomes("a.arrow", [(label, make()) for label, make in cases[::STRIDE]], tmp_path, read_row_by_row)
    assert len(found) > 200
    assert 20 < sum(end.endswith(" rows") for end in found.values()) < len(found)  # some lies do no harm
