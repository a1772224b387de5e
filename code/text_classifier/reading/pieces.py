"""The files of a channel, divided into pieces: each process reads some, in any order, and they are joined in theirs.

A large file is divided: Parquet at row groups, Arrow at record batches, JSON lines at line feeds, and a file with
separated fields where a record seems to start. Whether one does is known when the piece before has been read: if that
one ends within a record, the rest of the file is read anew as one piece. A compressed file is divided if it has several
zstd frames.
"""

from __future__ import annotations

import csv
import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from text_classifier.contract.errors import DataError, JobError
from text_classifier.reading import dialect as dialects
from text_classifier.reading.bad_rows import NAMED
from text_classifier.reading.batch import Collector
from text_classifier.reading.content import blocks, compression
from text_classifier.reading.encoding import is_utf8
from text_classifier.reading.piece import Chooser, Header, Piece, ReadSpec
from text_classifier.reading.reader import open_rows
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.table import WHOLE, Fields, Keys, Layout, Part, RowGroups
from text_classifier.reading.text_lines import decoded
from text_classifier.reading.zstd_frames import frame_starts

#: Bytes of a part of a file, and of the small files that one process reads in one go.
PART = 8 << 20

#: A file is divided if it is this share of what a process has to read.
_LARGE_SHARE = 0.25

#: Bytes after a part's end within which a record must start, lines tried, and records that must have all fields.
_WINDOW, _TRIED, _RECORDS = 1 << 18, 200, 3


@dataclass(frozen=True)
class ReadTask:
    """Pieces that a process reads one after another."""

    pieces: tuple[tuple[int, Piece], ...]  #: each with the index of its file
    header: Header | None  #: of the channel's first file with rows, if an earlier one


def read_tasks(files: Sequence[SourceFile], spec: ReadSpec, processes: int) -> Iterator[ReadTask]:
    """All pieces of the files, in order."""
    sizes = [file.path.stat().st_size for file in files]
    large = max(2 * PART, int(sum(sizes) / processes * _LARGE_SHARE))
    header: Header | None = None
    is_known = spec.is_text_folders
    small: list[tuple[int, Piece]] = []
    small_bytes = 0
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        layout, header_before = None, header
        if not spec.is_text_folders and (size >= large or not is_known):
            header, layout, is_known = _look(file, spec, header)
        parts = _parts(file, size, layout) if size >= large and layout else iter([WHOLE])
        first_parts = list(itertools.islice(parts, 2))
        is_apart = len(first_parts) > 1 or header_before != header
        if small and (is_apart or small_bytes + size > PART):
            yield ReadTask(tuple(small), header_before)
            small, small_bytes = [], 0
        if is_apart:
            for part in itertools.chain(first_parts, parts):
                yield ReadTask(((index, Piece(file, part)),), header_before)
        else:
            small.append((index, Piece(file)))
            small_bytes += size
    if small:
        yield ReadTask(tuple(small), header)


def _look(file: SourceFile, spec: ReadSpec, header: Header | None) -> tuple[Header | None, Layout | None, bool]:
    """The channel's header after a file, the layout of one that may be divided, and whether the header is known now."""
    choose = Chooser(file.name, spec.columns, header, collector := Collector(None if spec.skips else NAMED))
    try:
        opened, rows = open_rows(file, spec.options, choose, collector.add_problem)
        next(rows, None)
    except JobError:
        return header, None, True  # the error is raised when the file is read, and later files are not needed
    kind, is_arrow = _compression(file), isinstance(opened.layout, RowGroups)
    head = next(blocks(file.path, file.name), b"")
    may_divide = not kind if is_arrow else kind != "gzip" and is_utf8(head, spec.options.encoding)
    return choose.header, opened.layout if may_divide else None, choose.header is not None


def _compression(file: SourceFile) -> str:
    with file.path.open("rb") as raw:
        return compression(raw.read(4))


def _parts(file: SourceFile, size: int, layout: Layout) -> Iterator[Part]:
    """The parts of a file. Each but the first seems to start with a record."""
    start, skip = 0, 0
    if isinstance(layout, RowGroups):
        find = partial(_row_group, layout)
    elif _compression(file):
        find = partial(_line_in_frame, file, layout, frame_starts(file.path))
    else:
        find = partial(_line, file, layout)
    for target in range(PART, size - PART // 2, PART):
        if found := find(max(target, start)):
            end, more = found
            yield Part(start, end, layout, skip, more)
            start, skip = end, more
    yield Part(start, None, layout, skip)


# Where a part may start: an offset in the file above `offset`, and the bytes to skip there. None if there is no place.


def _row_group(layout: RowGroups, offset: int) -> tuple[int, int] | None:
    found = bisect_right(layout.starts, offset)
    return (layout.starts[found], 0) if found < len(layout.starts) else None


def _line_in_frame(
    file: SourceFile, layout: Fields | Keys, frames: Sequence[int], offset: int
) -> tuple[int, int] | None:
    found = bisect_right(frames, offset)
    if found == len(frames):
        return None
    frame, end = frames[found], frames[found + 1] if found + 1 < len(frames) else None
    try:
        window = next(blocks(file.path, file.name, Part(frame, end)), b"")
    except DataError:
        return None
    skip = record_start(window[:_WINDOW], layout)
    return None if skip is None else (frame, skip)


def _line(file: SourceFile, layout: Fields | Keys, offset: int) -> tuple[int, int] | None:
    with file.path.open("rb") as raw:
        raw.seek(offset)
        found = record_start(raw.read(_WINDOW), layout)
    return None if found is None else (offset + found, 0)


def record_start(window: bytes, layout: Fields | Keys) -> int | None:
    """The offset of the first line below the first one with which a record seems to start; None if there is none."""
    lines = decoded(window)[:-1]
    offset = 0
    for number in range(1, min(len(lines), _TRIED)):
        offset += len(lines[number - 1].encode("utf-8", "surrogateescape")) + 1
        if isinstance(layout, Keys) or not layout.dialect.is_quoted or _is_start(lines[number:], layout):
            return offset
    return None


def _is_start(lines: Sequence[str], layout: Fields) -> bool:
    """Whether these lines begin with records of all fields, in which quotes come in pairs."""
    fed: list[str] = []

    def feed() -> Iterator[str]:
        for line in dialects.quotes(lines, layout.dialect):
            fed.append(line)
            yield line + "\n"

    try:
        for record in itertools.islice(csv.reader(feed(), strict=True, delimiter=layout.dialect.delimiter), _RECORDS):
            if len(record) != len(layout.header) or sum(line.count('"') for line in fed) % 2:
                return False
    except csv.Error:
        return False
    return True
