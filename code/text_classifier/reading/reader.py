"""The rows of a file, in a format that is detected from its content.

No row is dropped silently: each is yielded, reported to `Problems`, or ends the reading with a DataError.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading import arrow_files, delimited, json_files
from text_classifier.reading.columns import LISTED
from text_classifier.reading.content import blocks
from text_classifier.reading.encoding import as_utf8
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.table import (
    WHOLE,
    Block,
    Choose,
    Fields,
    FileOptions,
    Keys,
    OpenFile,
    Part,
    RecordBatches,
    Report,
    Row,
    RowGroups,
)

_FORMATS: Mapping[str, Callable[[OpenFile], Iterator[Row | Block]]] = {
    "delimited": delimited.delimited_rows,
    "fasttext": delimited.fasttext_rows,
    "json lines": json_files.line_rows,
    "json array": json_files.array_rows,
    "json object": json_files.object_rows,
    "parquet": arrow_files.parquet_rows,
    "arrow": arrow_files.arrow_rows,
}

#: What reads a part of a file with this layout.
_DIVIDED: Mapping[type, Callable[[OpenFile], Iterator[Row | Block]]] = {
    Fields: delimited.delimited_rows,
    Keys: json_files.line_rows,
    RowGroups: arrow_files.parquet_rows,
    RecordBatches: arrow_files.arrow_rows,
}


def open_rows(
    source: SourceFile, options: FileOptions, choose: Choose, report: Report, part: Part = WHOLE
) -> tuple[OpenFile, Iterator[Row | Block]]:
    """A file, and the rows of a part of it. Raises DataError when the file as a whole cannot be read."""
    notes: list[str] = []
    content = blocks(source.path, source.name, part)
    if part.is_first:
        content = as_utf8(content, source.name, options.encoding, notes.append)
    head = next(content, b"")
    taken = deque([head])
    if not part.layout and head.lstrip().startswith(b"{"):
        head = json_files.up_to_second_line(taken, content)
    content = itertools.chain((taken.popleft() for _ in range(len(taken))), content)
    file = OpenFile(source.path, source.name, content, options, choose, report, notes=notes, part=part)
    read = _DIVIDED[type(part.layout)] if part.layout else _FORMATS[format_of(head, source.name, options.records_key)]
    return file, _with_partition(file, source.partition, read) if source.partition else read(file)


def single_rows(rows: Iterable[Row | Block]) -> Iterator[Row]:
    """The rows one by one, those of blocks too."""
    for row in rows:
        if isinstance(row, Block):
            yield from row.rows()
        else:
            yield row


def _with_partition(
    file: OpenFile, partition: Mapping[str, str], read: Callable[[OpenFile], Iterator[Row | Block]]
) -> Iterator[Row]:
    """The rows with the chosen columns of the partition, which the file itself does not have."""
    choose, added = file.choose, list[tuple[int, str]]()

    def choose_own(columns: Sequence[str], first: Sequence[Any]) -> Sequence[str]:
        of_folders = [column for column in partition if column not in columns]
        chosen = choose([*columns, *of_folders], first)
        if set(chosen) <= set(of_folders):
            raise DataError(
                f"{file.name} is read for the names of its folders only ({listed(chosen)}), which are the same in all "
                f"rows; set text_columns to one of its own columns: {listed(columns, LISTED)}"
            )
        added[:] = [(index, partition[column]) for index, column in enumerate(chosen) if column in of_folders]
        return [column for column in chosen if column not in of_folders]

    file.choose = choose_own
    for number, line, fields in single_rows(read(file)):
        row = list(fields)
        for index, value in added:
            row.insert(index, value)
        yield number, line, row


def format_of(head: bytes, name: str, records_key: str) -> str:
    """The format of a file that starts with `head`. Raises DataError when it is neither text nor Parquet."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1\x00\x00", b"\xff\xff\xff\xff")):
        return "arrow"
    start = head.lstrip()
    if start.startswith(b"{"):
        return "json lines" if json_files.is_lines(start, records_key) else "json object"
    if start.startswith(b"["):
        return "json array"
    if delimited.is_fasttext(start):
        return "fasttext"
    header, newline, _ = start.partition(b"\n")
    if any(byte < 9 or 13 < byte < 32 for byte in header[:1000]):
        raise DataError(f"{name} has control characters in its first line; give a CSV, TSV, JSON or Parquet file")
    if b"\r" in header.removesuffix(b"\r") and not newline:
        raise DataError(f"{name} has lines that end with only a carriage return; convert them to line feeds")
    return "delimited"
