"""Good files with random bytes changed: never a traceback, never a row lost silently.

EXAMPLES=2000 makes it longer.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from support.amazon_reviews import write
from support.labels import AnyLabels
from text_classifier.contract.errors import DataError
from text_classifier.reading.columns import Columns
from text_classifier.reading.rows import read_rows
from text_classifier.reading.sources import source

EXAMPLES = int(os.environ.get("EXAMPLES", 150))

#: Bytes that mean something to one of the formats, and any others.
BYTES = st.one_of(st.sampled_from(b'"\t\n\r,;{}[]:\\\0\xff\xc3 0'), st.integers(0, 255)).map(lambda byte: bytes([byte]))

#: Where (as a share of the file), how many bytes go, and what comes in their place.
MUTATIONS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.one_of(BYTES, st.binary(max_size=4))), min_size=1, max_size=4
)


class Counter:
    """Bad rows are counted, and end nothing."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, place: str, reason: str, remedy: str = "") -> None:
        assert "\n" not in place + reason and reason and (place + reason + remedy).encode()
        self.count += 1

    def end_file(self) -> None:
        pass

    def end_channel(self, name: str, good: int) -> None:
        pass


def csv_file() -> bytes:
    out = io.StringIO()
    rows = [
        ("id", "text", "label"),
        (1, 'two\nlines, "quoted"', 5),
        (2, "plain", 1),
        (3, "", 2),
        (4, "a,\r\nb\n\nc", 3),
    ]
    csv.writer(out, lineterminator="\n").writerows(rows + [(n, f"row {n}", n % 5) for n in range(5, 15)])
    return out.getvalue().encode()


def amazon(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "a"), 12, kind)
        return Path(folder, "a").read_bytes()


def lines(content: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def rows_of_table(content: bytes) -> int:
    """Lines after the header that are not empty."""
    return len([line for line in lines(content) if line]) - 1


def rows_of_json_lines(content: bytes) -> int:
    return len([line for line in lines(content) if line.decode("utf-8", "replace").strip()])


def rows_of_json_array(content: bytes) -> int:
    return len(json.loads(content.decode("utf-8-sig", "surrogateescape")))


def rows_of_csv(content: bytes) -> int:
    """Records, one line at a time: a record that does not parse counts for its first line alone."""
    left = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    left = [line + "\n" for line in left[:-1]] + ([left[-1] + "\n"] if left[-1] else [])
    separator = ";" if ";" in left[0] and "," not in left[0] else ","
    count = -1
    while left:
        reader = csv.reader(left, strict=True, delimiter=separator)
        try:
            row = next(reader)
        except csv.Error:
            left, count = left[1:], count + 1
        else:
            left, count = left[reader.line_num :], count + bool(row)
    return count


def count(content: bytes) -> int:
    """The rows of a file, counted without the reader that is tested."""
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        return rows_of_json_lines(content)
    if start.startswith(b"["):
        return rows_of_json_array(content)
    return rows_of_table(content) if b"\t" in start.split(b"\n")[0] else rows_of_csv(content)


FILES = {
    "tsv": amazon("tsv"),
    "json lines": amazon("2018"),
    "json array": b"[" + b",\n".join(amazon("2023").splitlines()) + b"]",
    "csv": csv_file(),
}


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
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=MUTATIONS)
def test_rows_read_and_rows_reported_are_the_rows_of_the_file(
    kind: str, folder: Path, mutations: list[tuple[float, int, bytes]]
) -> None:
    content = changed(FILES[kind], mutations)
    found = read(content, folder)
    if not isinstance(found, str):
        assert sum(found) == count(content)


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
    sink = pyarrow.BufferOutputStream()
    columns = {"text": [f"row {n} of a book" for n in range(50)], "label": [n % 5 for n in range(50)]}
    parquet.write_table(pyarrow.table(columns), sink)
    content = changed(sink.getvalue().to_pybytes(), mutations)
    found = read(content, folder)
    if not isinstance(found, str) and content.startswith(b"PAR1"):
        assert sum(found) == 50


@settings(max_examples=EXAMPLES, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(folder: Path, content: bytes) -> None:
    read(content, folder)
