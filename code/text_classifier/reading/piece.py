"""A piece of the channel's files, read to batches by any process: a whole file, a part of one, or a text file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from text_classifier.contract.errors import DataError, JobError, listed
from text_classifier.reading.bad_rows import NAMED
from text_classifier.reading.batch import Batch, Collector, Enough
from text_classifier.reading.bounds import require_decoded, require_memory
from text_classifier.reading.columns import Chosen, Columns, NoColumn
from text_classifier.reading.content import blocks
from text_classifier.reading.reader import open_rows
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.table import WHOLE, Block, FileOptions, NoHeader, NotCsv, OpenFile, Part
from text_classifier.reading.text_folders import require_header, whole_text

#: Rows, and bytes of their texts, in a batch, unless a block of a file has more.
_ROWS, _BYTES = 2_000, 1 << 20

#: Name of a file, and its columns.
Header = tuple[str, Sequence[str]]


@dataclass(frozen=True)
class ReadSpec:
    """What is the same for all pieces of a channel."""

    columns: Columns
    options: FileOptions
    skips: bool  #: whether bad rows are skipped; else the reading of a piece ends with its third
    is_text_folders: bool = False


@dataclass(frozen=True)
class Piece:
    """What one process reads in one go."""

    source: SourceFile
    part: Part = WHOLE


@dataclass(frozen=True)
class End:
    """What follows the last batch of a piece."""

    unit: str  #: as of a batch
    notes: tuple[str, ...] = ()
    error: JobError | None = None  #: what has ended the reading
    header: Header | None = None  #: the columns of the file
    size: int = 0  #: bytes of the file that were read
    records: int = 0  #: read in a part of a file
    lines: int = 0
    rest: Part | None = None  #: the rest of the file, from the record within which the part ends, if it ends so


def read_piece(piece: Piece, spec: ReadSpec, header: Header | None) -> Iterator[Batch | End]:
    """Yield the rows of a piece in batches, then its End. `header` is that of the channel's first file, if known."""
    return _text(piece.source, spec) if spec.is_text_folders else _rows(piece, spec, header)


class Chooser:
    """Chooses a file's columns, and keeps the choice."""

    def __init__(self, name: str, columns: Columns, header: Header | None, collector: Collector) -> None:
        self._name = name
        self._columns = columns
        self._collector = collector
        self.header = header  #: the first that has the columns, of this file or an earlier one

    def __call__(self, names: Sequence[str], first: Sequence[Any]) -> Sequence[str]:
        """The columns to read of those in the file. Raises DataError."""
        try:
            chosen = self._columns.choose(self._name, names, first)
        except DataError:
            known = self.header
            if known and len(names) == len(known[1]) and not set(names) & set(known[1]):
                raise NoHeader(
                    f"{self._name} has no header, unlike {known[0]}; begin each file with {listed(known[1], 20)}"
                ) from None
            raise
        self.header = self.header or (self._name, tuple(names))
        self._collector.chosen = chosen
        return chosen.names


def _rows(piece: Piece, spec: ReadSpec, header: Header | None) -> Iterator[Batch | End]:
    collector = Collector(None if spec.skips else NAMED)
    choose = Chooser(piece.source.name, spec.columns, header, collector)
    file: OpenFile | None = None
    rows_read, decoded, error = 0, 0, None
    try:
        file, rows = open_rows(piece.source, spec.options, choose, collector.add_problem, piece.part)
        for row in rows:
            if isinstance(row, Block):
                collector.add_block(row)
            else:
                collector.add(*row)
            if len(collector) >= _ROWS or collector.size >= _BYTES or len(collector.problems) >= _ROWS:
                rows_read += len(collector)
                decoded += collector.size
                yield collector.take(file.unit)
                require_decoded(file.name, file.path.stat().st_size, decoded)
                require_memory(file.name, file.rows)
    except Enough:
        pass  # the last batch says why
    except JobError as caught:
        error = caught
        if not rows_read + len(collector):  # found while the header was looked for
            collector.problems.clear()
    is_empty = piece.part == WHOLE and not (error or rows_read or len(collector) or collector.problems)
    if is_empty or isinstance(error, NoColumn | NotCsv):
        try:
            require_header(piece.source, spec.columns, spec.options)
        except DataError as caught:
            error = caught
    if file is None:
        yield End("line", error=error)
    else:
        yield collector.take(file.unit)
        yield End(file.unit, tuple(file.notes), error, choose.header, _size(file), file.records, file.lines, rest(file))


def _size(file: OpenFile) -> int:
    end = file.part.end
    return (file.path.stat().st_size if end is None else end) - file.part.start


def rest(file: OpenFile) -> Part | None:
    """The rest of a file from the record within which a part ends; None for a part that ends with a record."""
    part = file.part
    if not file.is_cut:
        return None
    content = b"".join(blocks(file.path, file.name, part))
    offset = len(content) - len(content.split(b"\n", file.lines)[-1])
    return Part(part.start, None, part.layout, part.skip + offset)


def _text(source: SourceFile, spec: ReadSpec) -> Iterator[Batch | End]:
    """A text file as a row; its label is the name of its folder."""
    collector = Collector(None)
    collector.chosen = Chosen(("text",), ("folder",))
    try:
        collector.add(1, 1, (whole_text(source, spec.options), source.parts[-2]))
        yield collector.take("")
        yield End("")
    except JobError as error:
        yield End("", error=error)
