"""Parquet files whose metadata lie about sizes, numbers and encodings: rows, or one sentence within little memory."""

from __future__ import annotations

import copy
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from support import thrift
from support.lies import outcomes, read_all, read_row_by_row
from support.thrift import Value
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import bounds

#: What a number in the metadata is replaced with. Of these cases, every so many is tried.
NUMBERS, STRIDE = (-1, 0, 1, 127, 2**31 - 1, 2**40, 2**62), 29

#: Fields of a footer, a row group, a column chunk's metadata, and of a page's header.
SCHEMA, ROWS_OF_FILE, GROUPS = 2, 3, 4
COLUMNS, ROWS = 1, 3
KIND, ENCODINGS, VALUES, DECOMPRESSED, COMPRESSED, DATA, DICTIONARY, STATISTICS = 1, 2, 5, 6, 7, 9, 11, 12

TEXT = "word " * 4_000


@dataclass
class File:
    """A Parquet file with one row group, in its parts."""

    body: bytes
    footer: Value

    @classmethod
    def of(cls, columns: dict[str, Any], **options: Any) -> File:
        sink = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), sink, **options)
        content = sink.getvalue()
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        return cls(content[:start], thrift.read(content, start)[0])

    def content(self) -> bytes:
        footer = thrift.write(self.footer)
        return self.body + footer + len(footer).to_bytes(4, "little") + b"PAR1"

    def column(self, index: int = 0) -> Value:
        """The metadata of a column chunk."""
        found: Value = self.footer[GROUPS][0][COLUMNS][index][3]
        return found

    def pages(self, index: int = 0) -> Iterator[tuple[Value, bytes]]:
        """The header and the content of each page of a column."""
        column = self.column(index)
        start = position = min(column[field].value for field in (DATA, DICTIONARY) if field in column.value)
        while position < start + column[COMPRESSED].value:
            header, position = thrift.read(self.body, position)
            yield header, self.body[position : position + header[3].value]
            position += header[3].value

    def replace(self, pages: Sequence[tuple[Value, bytes]], index: int = 0, more: bytes = b"") -> File:
        """The file with other pages of a column, without checksums; `more` fields are added to their headers."""
        column, added = self.column(index), []
        for header, content in pages:
            header = copy.deepcopy(header)
            header.value.pop(4, None)
            added.append(thrift.write(header)[:-1] + more + b"\0" + content)
        column[COMPRESSED].value = sum(map(len, added))
        start = len(self.body)
        if DICTIONARY in column.value:
            column[DICTIONARY].value, start = start, start + len(added[0])
        column[DATA].value = start
        self.body += b"".join(added)
        return self


def few(**options: Any) -> File:
    """A file of a hundred rows."""
    rows: dict[str, Any] = {"text": [f"row {number} is good" for number in range(100)], "label": ["a", "b"] * 50}
    return File.of(rows, **options)


def changed(file: File) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The file with each number of the footer and of the pages' headers replaced."""

    def in_footer(number: int, value: int) -> bytes:
        other = copy.deepcopy(file)
        list(thrift.numbers(other.footer))[number].value = value
        return other.content()

    def in_page(page: int, number: int, value: int) -> bytes:
        other = copy.deepcopy(file)
        pages = list(other.pages())
        list(thrift.numbers(pages[page][0]))[number].value = value
        return other.replace(pages).content()

    for value in NUMBERS:
        for number, _ in enumerate(thrift.numbers(file.footer)):
            yield f"footer {number}={value}", partial(in_footer, number, value)
        for page, (header, _) in enumerate(file.pages()):
            for number, _ in enumerate(thrift.numbers(header)):
                yield f"page {page} {number}={value}", partial(in_page, page, number, value)


def quiet(file: File, index: int = 0) -> File:
    """The file whose footer says that a column is small, and of plain values."""
    column = file.column(index)
    column[DECOMPRESSED].value = column[VALUES].value = 100
    column[ENCODINGS].value = [Value(thrift.I32, 0)]
    column.value.pop(STATISTICS, None)
    return file


def alike(rows: int) -> Any:
    return pyarrow.array([TEXT]).take(pyarrow.array(np.zeros(rows, np.int32)))


def one_dictionary() -> File:
    """All rows have one long text, which the dictionary has once; the footer does not mention the dictionary."""
    big = {"dictionary_pagesize_limit": 1 << 30, "compression": "zstd"}
    long = pyarrow.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), pyarrow.array(["word " * 2_000_000]))
    file = quiet(File.of({"text": long, "label": pyarrow.array(["a", "b"] * 50_000)}, **big))
    file.column()[DATA].value = file.column().value.pop(DICTIONARY).value
    return file


def shared_starts() -> File:
    """Each text is the one before it."""
    columns = {"text": alike(5_000), "label": ["a", "b"] * 2_500}
    encodings = {"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"}
    return quiet(File.of(columns, use_dictionary=False, column_encoding=encodings, compression="zstd"))


def large_pages(**options: Any) -> File:
    columns = {"text": alike(5_000), "label": ["a", "b"] * 2_500}
    return quiet(File.of(columns, use_dictionary=["label"], compression="zstd", data_page_size=1 << 30, **options))


def large_list() -> File:
    """A row with so many equal labels, of which the footer says that they are few."""
    labels = pyarrow.ListArray.from_arrays(np.array([0, 30_000_000, 30_000_001], np.int32), np.zeros(30_000_001, "i1"))
    return quiet(File.of({"text": ["good", "bad"], "label": labels}, compression="zstd"), 1)


def lengths_of(encoding: int, count: int, version: str) -> File:
    """A page of no more than some bytes, which says that it has so many strings, each of no length."""
    name = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}[encoding]
    options = {"column_encoding": {"text": name}, "use_dictionary": ["label"], "data_page_version": version}
    file = few(compression="none", **options)
    [(header, content)] = file.pages()
    levels = 4 + int.from_bytes(content[:4], "little") if version == "1.0" else header[8][5].value
    # A block of 2**31 - 128 differences, all 0 and stored in 0 bits.
    block = b"".join(thrift._varint(number) for number in (2**31 - 128, 1, count, 0, 0)) + b"\0"
    content = content[:levels] + block * 2
    header[2].value = header[3].value = len(content)
    return file.replace([(header, content)])


def wide_values() -> File:
    """Values of 2 GB each, all of which are null."""
    file = few(write_statistics=False)
    column, element = file.column(), file.footer[SCHEMA][1]
    column[KIND].value = element[1].value = 7
    element.value |= {2: Value(thrift.I32, 2**31 - 1)}
    for key in (6, 10):
        element.value.pop(key, None)
    column.value.pop(16, None)  # statistics of sizes
    return file


def encrypted() -> File:
    """A column that says it is encrypted: pyarrow's exception ends the process."""
    file = few()
    names = Value(thrift.LIST, [Value(thrift.BINARY, b"text")])
    of_column = Value(thrift.STRUCT, {2: Value(thrift.STRUCT, {1: names})})
    file.footer[GROUPS][0][COLUMNS][0].value[8] = of_column
    return file


def with_list() -> File:
    """A header with a list, which no header has."""
    file = few(compression="zstd")
    pages = list(file.pages())
    pages[0][0].value |= {99: Value(thrift.STRUCT, {1: Value(thrift.LIST, [])})}
    return file.replace(pages)


def doubled() -> File:
    """A header with a second size that pyarrow would skip, as it has another type."""
    file = few(compression="zstd")
    return file.replace(list(file.pages()), more=bytes([thrift.I64]) + thrift.write(Value(thrift.I16, 2)) + b"\2")


REFUSED: dict[str, tuple[Callable[[], File], str]] = {
    "dictionary": (one_dictionary, "decodes to more than 10 times"),
    "shared starts": (shared_starts, "decodes to more than 10 times"),
    "large pages": (large_pages, "decodes to more than 10 times"),
    "large pages 2": (lambda: large_pages(data_page_version="2.0"), "decodes to more than 10 times"),
    "large list": (large_list, "decodes to more than 10 times"),
    "wide values": (wide_values, "decodes to more than 10 times|the metadata of a column are damaged"),
    "encrypted": (encrypted, "the metadata of a column are damaged"),
    "a list in a header": (with_list, "a page has a damaged header"),
    "a field twice": (doubled, "a page has a damaged header"),
    **{
        f"lengths {encoding} {version}": (
            lambda encoding=encoding, version=version: lengths_of(encoding, 2**31 - 1, version),
            "a page has more lengths than values",
        )
        for encoding, version in itertools.product((6, 7), ("1.0", "2.0"))
    },
}


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ALWAYS", 1 << 26)
    monkeypatch.setattr(bounds, "TIMES", 10)


@pytest.mark.parametrize("name", REFUSED)
def test_what_pages_say_counts_and_not_the_footer(name: str, tmp_path: Path) -> None:
    make, expected = REFUSED[name]
    settings = {"task": "multi_label"} if "list" in name and "header" not in name else {}
    found = outcomes("a.parquet", [(name, make().content())], tmp_path, partial(read_all, **settings))
    assert re.search(expected, found[name]), found


FILES = {
    "dictionary": few(compression="zstd"),
    "plain": few(compression="none", use_dictionary=False),
    "version 2": few(compression="snappy", data_page_version="2.0", write_statistics=False),
    "lengths": few(use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"}),
}


def test_any_number_in_the_metadata_may_lie(tmp_path: Path) -> None:
    cases = [(f"{name} {label}", make) for name, file in FILES.items() for label, make in changed(file)]
    found = outcomes("a.parquet", [(label, make()) for label, make in cases[::STRIDE]], tmp_path, read_row_by_row)
    assert len(found) > 50
    assert 10 < sum(end.endswith(" rows") for end in found.values()) < len(found)  # some lies do no harm


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "dictionary"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_true_metadata_of_each_encoding_are_read(encoding: str, version: str, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    texts = [f"row {number} " + "x" * (number % 300) for number in range(2_000)]
    columns = {"text": [*texts, None], "label": ["a", "b", "c"] * 667}
    is_dictionary = encoding == "dictionary"
    options: dict[str, Any] = {"use_dictionary": is_dictionary, "data_page_version": version, "data_page_size": 4_000}
    if not is_dictionary:
        options["column_encoding"] = dict.fromkeys(columns, encoding)
    for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4"):
        parquet.write_table(pyarrow.table(columns), tmp_path / "train" / "a.parquet", compression=codec, **options)
        settings = parse({"text_columns": "text", "deduplicate": "false"})
        splits = read_data({"train": tmp_path / "train"}, settings).splits
        assert sorted(text for rows in splits.values() for text in rows.texts) == sorted(["", *texts])
