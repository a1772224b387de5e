"""What the readers of all file formats share: the open file, its options, and the rows that they yield."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import DataError
from text_classifier.reading.dialect import Dialect

#: Maximum length of a field, in characters: a longer one is most likely an unclosed quote.
LONGEST_FIELD = 10_000_000
csv.field_size_limit(LONGEST_FIELD)  # before a dialect is detected: csv's own limit is 131,072

#: Maximum number of columns: a header with more is most likely no header.
MOST_COLUMNS = 10_000


class _Missing:
    def __reduce__(self) -> str:
        return "MISSING"  # the same object in each process, where `is` finds it


#: The value of a name that a JSON object lacks.
MISSING = _Missing()

#: A row: its number in the file, the line on which it starts (equal to the number in a file without lines), and its
#: fields in the order of the chosen columns.
Row = tuple[int, int, Sequence[Any]]

#: Chooses from the columns of a file, given their names and the values of its first row (empty if unknown).
Choose = Callable[[Sequence[str], Sequence[Any]], Sequence[str]]


class NoHeader(DataError):
    """A file of a channel lacks the header that an earlier one has."""


class NotCsv(DataError):
    """The first line of a file, which would be its header, is not CSV."""


class TooManyColumns(DataError):
    """A file has more than MOST_COLUMNS columns."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows, one a line, each field UTF-8 without NUL characters."""

    number: int  #: of the first row
    line: int
    columns: Sequence[Sequence[bytes]]  #: the fields of each chosen column
    is_ascii: bool

    def __len__(self) -> int:
        return len(self.columns[0])

    def rows(self) -> Iterator[Row]:
        """The rows one by one."""
        for index, fields in enumerate(zip(*self.columns, strict=True)):
            yield self.number + index, self.line + index, [field.decode() for field in fields]


@dataclass(frozen=True)
class Fields:
    """What the beginning of a file with separated fields says of all its rows."""

    dialect: Dialect
    header: tuple[str, ...]


@dataclass(frozen=True)
class Keys:
    """What the first objects of a JSON lines file say of all its rows: the names of their fields."""

    own: Mapping[str, str]  #: from a column's name to that in the objects
    nested: tuple[str, ...]  #: with dots


@dataclass(frozen=True)
class RowGroups:
    """What the metadata of a Parquet file say: the offsets of its row groups in bytes, in order."""

    starts: tuple[int, ...]


@dataclass(frozen=True)
class RecordBatches(RowGroups):
    """The same of an Arrow file's record batches, and how many rows they have."""

    rows: int


#: What is known of all rows of a file that may be divided.
Layout = Fields | Keys | RowGroups | RecordBatches


@dataclass(frozen=True)
class Part:
    """Some of the lines, row groups or record batches of a file, or a whole file of any kind."""

    start: int = 0  #: offset in bytes, at the start of a line, a row group, a record batch or a frame of zstd
    end: int | None = None  #: that of the next part; None for the end of the file
    layout: Layout | None = None  #: None to detect it
    skip: int = 0  #: bytes at the start, decompressed, that the part before has
    more: int = 0  #: bytes at the end, decompressed, that this part has and the next one skips

    @property
    def is_first(self) -> bool:
        """Whether it begins where the file does."""
        return not self.start and not self.skip

    def picked(self, starts: Sequence[int]) -> list[int]:
        """The indices of the row groups or record batches that are in it, of all with these offsets."""
        end = math.inf if self.end is None else self.end
        return [index for index, start in enumerate(starts) if self.start <= start < end]


WHOLE = Part()

#: Picks the chosen fields out of a row.
Pick = Callable[[Sequence[Any]], Sequence[Any]]

#: Receives the number, the line, the reason and the remedy of a row that cannot be read.
Report = Callable[[int, int, str, str], None]


@dataclass(frozen=True)
class FileOptions:
    """How to read files where their content does not tell; the hyperparameters of the same names."""

    encoding: str = ""  #: empty: UTF-8, or what a byte order mark says
    delimiter: str = ""  #: empty: detected
    has_header: bool = True
    columns: tuple[str, ...] = ()  #: names of the columns of files without a header
    records_key: str = ""  #: key of a JSON object that holds the rows


DEFAULT_OPTIONS = FileOptions()


@dataclass
class OpenFile:
    """A file whose rows are read."""

    path: Path
    name: str  #: for messages
    content: Iterable[bytes]  #: decompressed, text as UTF-8 without a byte order mark
    options: FileOptions
    choose: Choose
    report: Report
    unit: str = "line"  #: what row numbers count: "line", or "row" in a file without lines
    notes: list[str] = field(default_factory=list)  #: what the user should know, one sentence each
    part: Part = WHOLE
    layout: Layout | None = None  #: set when it is detected, if a file of its kind may be divided
    rows: int = 0  #: of the whole file, as far as its metadata are read
    records: int = 0  #: of a file that may be divided: records and lines read, complete with the last row
    lines: int = 0
    is_cut: bool = False  #: whether the part ends within a record

    def place(self, number: int, line: int) -> str:
        """A row's place for messages: `train/a.csv line 7`, or `train/a.csv row 6 (line 7)` where these differ."""
        return place(f"{self.name} {self.unit}", number, line)

    def bad(self, number: int, line: int, reason: str, remedy: str = "fix or remove the row") -> None:
        """Report a row that cannot be read. May raise DataError."""
        self.report(number, line, reason, remedy)

    def picker(self, columns: Sequence[str], first: Sequence[Any] = ()) -> Pick:
        """A function that picks the chosen fields out of a row with these columns.

        Raises DataError when the file lacks a column, has a chosen one twice, or has more than MOST_COLUMNS.
        """
        if len(columns) > MOST_COLUMNS:
            raise TooManyColumns(
                f"{self.name} has {len(columns):,} columns, and the maximum is {MOST_COLUMNS:,}; keep those of the "
                "text and the label, or set delimiter"
            )
        header = [column_name(column) for column in columns]
        chosen = self.choose(header, first)
        repeated = next((column for column in chosen if header.count(column) > 1), None)
        if repeated is not None:
            raise DataError(f"{self.name} has two columns named {repeated!r}; rename one of them")
        indices = [header.index(column) for column in chosen]
        return itemgetter(*indices) if len(indices) > 1 else itemgetter(slice(indices[0], indices[0] + 1))


def column_name(text: str) -> str:
    """A column's name as files and hyperparameters have it: without blanks around it, accents in one form."""
    return unicodedata.normalize("NFC", text.strip())


def place(file_and_unit: str, number: int, line: int) -> str:
    """As OpenFile.place, from a file's name and unit: `train/a.csv line`."""
    if number == line:
        return f"{file_and_unit} {number}"
    return f"{file_and_unit.removesuffix('line')}row {number} (line {line})"
