"""Good files with random bytes changed: never a traceback, never a row lost silently.

EXAMPLES=2000 makes it longer, and tries other mutations than the last run.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import tempfile
import unicodedata
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from support.amazon_reviews import write
from support.divided import found, workers
from support.labels import AnyLabels
from text_classifier.contract.errors import DataError
from text_classifier.reading.channel import read_rows
from text_classifier.reading.columns import Columns
from text_classifier.reading.sources import source

EXAMPLES = int(os.environ.get("EXAMPLES", 150))

#: Bytes that mean something to one of the formats, and any others.
BYTES = st.one_of(st.sampled_from(b'"\t\n\r,;{}[]:\\\0\xff\xc3 0'), st.integers(0, 255)).map(lambda byte: bytes([byte]))

#: Where (as a share of the file), how many bytes go, and what comes in their place.
MUTATIONS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.one_of(BYTES, st.binary(max_size=4))), min_size=1, max_size=4
)


#: What files that were joined leave in a header.
MARKS = '\ufeff"'


class Counter:
    """Bad rows are counted, and end nothing."""

    def __init__(self) -> None:
        self.skips = True
        self.count = 0

    def add(self, place: str, reason: str, remedy: str = "") -> None:
        assert "\n" not in place + reason and reason and (place + reason + remedy).encode()
        self.count += 1

    def end_file(self) -> None:
        pass

    def end_channel(self, name: str, good: int) -> None:
        pass


def arrow_file() -> bytes:
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"text": [f"row {number}" for number in range(40)], "label": [1, 2] * 20})
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=8)
    return sink.getvalue().to_pybytes()


def csv_file(delimiter: str = ",") -> bytes:
    out = io.StringIO()
    rows = [
        ("id", "text", "label"),
        (1, 'two\nlines, "quoted"', 5),
        (2, "plain", 1),
        (3, "", 2),
        (4, "a,\r\nb\n\nc", 3),
    ]
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(
        rows + [(n, f"row {n}", n % 5) for n in range(5, 15)]
    )
    return out.getvalue().encode()


def amazon(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "a"), 12, kind)
        return Path(folder, "a").read_bytes()


def is_row(fields: list[str], header: list[str]) -> bool:
    """A repeated header is no row: the same names, of which the first is written alike, or in quotes."""
    if not any(field.strip() for field in fields):
        return False
    first, start = fields[0].removeprefix("\ufeff").casefold(), header[0].strip(MARKS).casefold()
    starts = {spelling for name in (start, start.strip()) for spelling in (name, f'"{name}"')}
    return first not in starts or plain(fields) != plain(header)


def plain(names: list[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name.strip(MARKS).strip()).casefold() for name in names]


def rows_of_table(content: str) -> int:
    """Lines after the header that are not blank."""
    header, *rest = [line.removesuffix("\r").split("\t") for line in content.split("\n") if line.removesuffix("\r")]
    return sum(is_row(fields, header) for fields in rest)


def rows_of_json_lines(content: str) -> int:
    return len([line for line in content.split("\n") if line.strip()])


def rows_of_json_array(content: str) -> int:
    return len(json.loads(content))


def rows_of_json_object(content: str) -> int | None:
    """The rows of an object by the form that it has, or the objects that come one after another; None if unclear."""
    found, end = json.JSONDecoder().raw_decode(content.lstrip())
    objects, rest = 1, content.lstrip()[end:].lstrip()
    while rest:
        _, end = json.JSONDecoder().raw_decode(rest)
        objects, rest = objects + 1, rest[end:].lstrip()
    if objects > 1:
        return objects
    lists = [part for part in found.values() if isinstance(part, list) and part and isinstance(part[0], dict)]
    if lists:
        return len(lists[0]) if len(lists) == 1 else None
    if isinstance(found.get("data"), list) and "columns" in found:
        return len(found["data"])
    if all(isinstance(part, list) for part in found.values()):
        return max(map(len, found.values()))
    if all(isinstance(part, dict) for part in found.values()):
        return len({index for part in found.values() for index in part})
    return None


def rows_of_csv(content: str, separator: str) -> int:
    """Records, one line at a time: a record that does not parse counts for its first line alone."""
    left = content.split("\n")
    left = [line + "\n" for line in left[:-1]] + ([left[-1] + "\n"] if left[-1] else [])
    header: list[str] = []
    count = 0
    while left:
        reader = csv.reader(left, strict=True, delimiter=separator)
        try:
            row = next(reader)
        except csv.Error:
            left, count = left[1:], count + 1
        else:
            left, count = left[reader.line_num :], count + bool(header and is_row(row, header))
            header = header or row
    return count


def count(kind: str, content: bytes) -> int | None:
    """The rows of a file, counted without the reader that is tested; None where a mutation has made another kind."""
    if kind == "arrow":  # has no checksums: a changed number of rows is not noticed
        return None
    encoding = "utf-16" if kind == "utf-16" else "utf-8"
    if not content.startswith(b"\xff\xfe") and kind == "utf-16":
        return None
    text = content.decode(encoding, "surrogateescape").rstrip("\x1a")
    text = re.sub(r"(?m)^\ufeff", "", text)  # of files that were joined, too
    start = text.lstrip()
    first = next((line.removesuffix("\r") for line in start.split("\n") if line.strip()), "")
    if first.startswith("{"):
        try:
            return rows_of_json_lines(text) if kind == "json lines" else rows_of_json_object(text)
        except ValueError:  # it is no longer JSON as a whole: the reader refuses it, or reads it line by line
            return rows_of_json_lines(text)
    if first.startswith("["):
        return rows_of_json_array(text)
    if re.match(r"__label__[^\s,;|]+(\s|$)", first):
        return rows_of_json_lines(text)
    bare = re.sub(r'"(?:[^"]|"")*"', "", first)
    separators = [mark for mark in "\t,;|" if mark in bare] or [","]
    if len(separators) > 1 and separators[0] != "\t":
        return None
    separator = separators[0]
    if first.lower().lstrip('"').startswith("sep=") or '\\"' in text:
        return None
    if separator == "\t":
        return rows_of_table(text) if kind == "tsv" else None
    return rows_of_csv(text, separator)


FILES = {
    "tsv": amazon("tsv"),
    "json lines": amazon("2018"),
    "json array": b"[" + b",\n".join(amazon("2023").splitlines()) + b"]",
    "csv": csv_file(),
    "semicolons": csv_file(";"),
    "pipes": csv_file("|"),
    "quoted tsv": csv_file("\t"),
    "utf-16": csv_file().decode().encode("utf-16"),
    "fasttext": b"".join(b"__label__%d text %d , more\n" % (number % 2, number) for number in range(12)),
    "json object": b'{"version": 1, "data": [' + b",\n".join(amazon("2023").splitlines()) + b"]}",
    "json columns": json.dumps({"text": list("abcdef"), "label": [1, 2] * 3}).encode(),
    "json objects": b"\n".join(json.dumps(json.loads(row), indent=1).encode() for row in amazon("2023").splitlines()),
    "json rows by line": b'{"version": 1, "data": [\n' + b",\n".join(amazon("2023").splitlines()) + b"\n]}",
    "json pandas": json.dumps({"text": dict(enumerate("abcdef")), "label": dict(enumerate([1, 2] * 3))}).encode(),
    "json split": json.dumps({"columns": ["text", "label"], "data": [[c, 1] for c in "abcdef"]}).encode(),
    "arrow": arrow_file(),
    "joined": csv_file() + b"\xef\xbb\xbf" + csv_file(),
    "sep line": b"sep=;\r\n" + csv_file(";"),
    "spark": b'text,label\n"a \\"b\\", c",1\nd,2\n"e, \\"f",1\n',
}


def parquet_file() -> bytes:
    sink = pyarrow.BufferOutputStream()
    columns = {"text": [f"row {n} of a book" for n in range(50)], "label": [n % 5 for n in range(50)]}
    parquet.write_table(pyarrow.table(columns), sink, row_group_size=20)
    return sink.getvalue().to_pybytes()


PARQUET = parquet_file()

#: Frames of zstd that end within lines.
FRAMES = b"".join(
    pyarrow.compress(csv_file()[start : start + 50], codec="zstd", asbytes=True)
    for start in range(0, len(csv_file()), 50)
)

#: Kinds that are not counted without the reader: of these only tracebacks are found.
UNCOUNTED = ("arrow", "sep line", "spark", "quoted tsv")


def changed(content: bytes, mutations: list[tuple[float, int, bytes]]) -> bytes:
    for share, cut, inserted in mutations:
        place = int(share * len(content))
        content = content[:place] + inserted + content[place + cut :]
    return content


def read(content: bytes, folder: Path) -> tuple[int, int] | str:
    """Rows that were read and rows that were reported, or the sentence that refuses the file."""
    (folder / "file").write_bytes(content)
    bad = Counter()
    try:
        rows, _ = read_rows(source(folder), Columns(), AnyLabels(), bad)
    except DataError as error:
        sentence = str(error)
        assert "\n" not in sentence and len(sentence.encode()) < 2_000
        return sentence
    assert all(text.encode() is not None for text in rows.texts) and len(rows.places[:]) == len(rows)
    return len(rows), bad.count


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.mark.parametrize("kind", FILES)
def test_the_files_are_read_before_they_are_changed(kind: str, folder: Path) -> None:
    found = read(FILES[kind], folder)
    assert not isinstance(found, str) and found[0] > 0 and found[1] == 0
    assert count(kind, FILES[kind]) == (None if kind in UNCOUNTED else found[0])


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=MUTATIONS)
def test_rows_read_and_rows_reported_are_the_rows_of_the_file(
    kind: str, folder: Path, mutations: list[tuple[float, int, bytes]]
) -> None:
    content = changed(FILES[kind], mutations)
    found = read(content, folder)
    expected = None if isinstance(found, str) else count(kind, content)
    if expected is not None:
        assert sum(found) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*FILES, "parquet", "zstd"])
@settings(max_examples=max(5, EXAMPLES // 10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=MUTATIONS)
def test_a_damaged_file_is_read_alike_by_any_number_of_workers(
    kind: str, folder: Path, mutations: list[tuple[float, int, bytes]]
) -> None:
    content = {**FILES, "parquet": PARQUET, "zstd": FRAMES}[kind]
    (folder / "file").write_bytes(changed(content, mutations))
    for chosen in ({}, {"bad_rows": "skip"}):
        expected = found(folder, **chosen)
        for count in (2, 3):
            with workers(count):
                assert found(folder, **chosen) == expected


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=MUTATIONS)
def test_a_damaged_gzip_file_is_refused_or_whole(folder: Path, mutations: list[tuple[float, int, bytes]]) -> None:
    content = changed(gzip.compress(FILES["tsv"], mtime=0), mutations)
    found = read(content, folder)
    if not isinstance(found, str) and content.startswith(b"\x1f\x8b"):
        assert found == (12, 0)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=MUTATIONS)
def test_a_damaged_parquet_file_is_refused_or_has_all_rows(
    folder: Path, mutations: list[tuple[float, int, bytes]]
) -> None:
    content = changed(PARQUET, mutations)
    found = read(content, folder)
    if not isinstance(found, str) and content.startswith(b"PAR1"):
        assert sum(found) == 50


@settings(max_examples=EXAMPLES, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(folder: Path, content: bytes) -> None:
    read(content, folder)
