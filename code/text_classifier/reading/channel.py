"""Reads the files of a channel to rows, and one file to texts."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError, listed, printable
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.columns import Chosen, Columns
from text_classifier.reading.fields import BadRow, Unlabelled, joined, refuse_text, string
from text_classifier.reading.fields import text as text_of
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import LabelReader
from text_classifier.reading.reader import open_rows
from text_classifier.reading.rows import Lookup, Rows
from text_classifier.reading.sources import Source, SourceFile
from text_classifier.reading.spool import Spool
from text_classifier.reading.table import DEFAULT_OPTIONS, LONGEST_FIELD, FileOptions, NoHeader, place
from text_classifier.reading.text_folders import is_text_folders, whole_text

#: Maximum number of slices, and maximum length of a slice's value in characters.
MOST_SLICES = 10_000
LONGEST_SLICE = 200

#: Maximum number of notes on the files of a split.
SHOWN = 20

#: Near duplicates have the same text after lowercasing ASCII letters and deleting ASCII white space.
_LOWER, _SPACE = bytes(range(256)).lower(), b" \t\r\n\v\f"


def read_rows(
    source: Source,
    columns: Columns,
    labels: LabelReader,
    bad: BadRows,
    options: FileOptions = DEFAULT_OPTIONS,
    *,
    drops_unlabelled: bool = False,
) -> tuple[Rows, LabelMap]:
    """Read all files of a split in one pass. Returns the rows and the label map of their targets.

    A row without a label is dropped with `drops_unlabelled`, else it is a bad row.

    Raises DataError that names file, line and column, and PlatformError when the disk has no space for the texts.
    """
    table = _Table(columns, labels, bad, options, drops_unlabelled=drops_unlabelled)
    if is_text_folders(source.files, columns, options):
        for file in source.files:
            table.read_text(file)
    else:
        for file in source.files:
            table.read_file(file)
    bad.end_channel(source.name, table.seen)
    return table.finish(source)


class _Table:
    """The columns of the rows read so far."""

    def __init__(
        self, columns: Columns, labels: LabelReader, bad: BadRows, options: FileOptions, *, drops_unlabelled: bool
    ) -> None:
        self._columns = columns
        self._labels = labels
        self._bad = bad
        self._options = options
        self._drops_unlabelled = drops_unlabelled
        self._spool = Spool()
        self._ids = Spool() if columns.id else None
        self._codes: array[Any] = array(labels.typecode)
        self._numbers, self._lines, self._characters = array("I"), array("I"), array("I")
        self._exact, self._near, self._groups = array("Q"), array("Q"), array("Q")
        self._slices = array("q")
        self._slice_values: dict[str, int] = {}
        self._files: list[str] = []  # name and unit, as in `train/a.tsv line`
        self._starts: list[int] = []  # index of each file's first row
        self._header: tuple[str, Sequence[str]] | None = None  # name and columns of the first file
        self._empty: list[str] = []  # names of files without rows
        self._notes: dict[str, int] = {}  # in order, and in how many files
        self.dropped = 0
        self.unlabelled = 0

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def seen(self) -> int:
        """The rows that could be read, those that were dropped included."""
        return len(self) + self.dropped + self.unlabelled

    def read_file(self, source: SourceFile) -> None:
        """Add the rows of a file."""
        name, chosen = source.name, Chosen(())

        def choose(names: Sequence[str], first: Sequence[Any]) -> Sequence[str]:
            nonlocal chosen
            try:
                chosen = self._columns.choose(name, names, first)
            except DataError:
                if self._header and len(names) == len(self._header[1]) and not set(names) & set(self._header[1]):
                    raise NoHeader(
                        f"{name} has no header, unlike {self._header[0]}; begin each file with "
                        f"{listed(self._header[1], 20)}"
                    ) from None
                raise
            self._header = self._header or (name, names)
            return chosen.names

        file, rows = open_rows(source, self._options, choose, self._bad)
        self._files.append(f"{name} {file.unit}")
        self._starts.append(len(self))
        rows_before = self.seen + self._bad.count
        for number, line, fields in rows:
            try:
                self._add(number, line, fields, chosen)
            except BadRow as row:
                file.bad(number, line, str(row), row.remedy)
            except DataError as error:  # too many labels: not the fault of a single row
                raise DataError(f"{file.place(number, line)}: {error}") from None
        self._files[-1] = f"{name} {file.unit}"
        for note in file.notes:
            self._notes[note] = self._notes.get(note, 0) + 1
        self._bad.end_file()
        if len(self._slice_values) > MOST_SLICES:
            raise DataError(
                f"{name} has more than {MOST_SLICES:,} values in column {chosen.slice!r}; choose another slice_column"
            )
        if self.seen + self._bad.count == rows_before:
            self._empty.append(name)  # Spark leaves such parts

    def read_text(self, source: SourceFile) -> None:
        """Add a text file as a row; its label is the name of its folder."""
        self._files.append(f"{source.name} line")
        self._starts.append(len(self))
        try:
            self._add(1, 1, (whole_text(source, self._options), source.parts[-2]), Chosen(("text",), ("folder",)))
        except BadRow as row:
            self._bad.add(f"{source.name}", str(row), row.remedy)
        self._bad.end_file()

    def _add(self, number: int, line: int, fields: Sequence[Any], chosen: Chosen) -> None:
        end = len(chosen.texts)
        texts = fields[:end]
        try:
            text = " ".join([field for field in texts if field != ""])
            content = text.encode()
        except (TypeError, UnicodeEncodeError):
            text = joined(texts, chosen.texts)
            content = text.encode()
        if "\0" in text or len(text) > LONGEST_FIELD:
            refuse_text(texts, chosen.texts)
        label = fields[end] if len(chosen.labels) == 1 else tuple(fields[end : end + len(chosen.labels)])
        code = self._labels.codes.get(label) if type(label) is str else None
        if code is None:
            try:
                code = self._labels.read(label, chosen.labels[0])
            except Unlabelled:
                if not self._drops_unlabelled:
                    raise
                self.unlabelled += 1
                return
        if code is None:
            self.dropped += 1
            return
        if len(fields) > end + len(chosen.labels):
            self._add_more(fields[end + len(chosen.labels) :], chosen)
        self._spool.append(content)
        self._codes.append(code)
        self._numbers.append(number)
        self._lines.append(line)
        self._characters.append(len(text))
        self._exact.append(_hash(content))
        self._near.append(_hash(content.translate(_LOWER, _SPACE)))

    def _add_more(self, fields: Sequence[Any], chosen: Chosen) -> None:
        """Add the group, the slice and the id of a row, those that are chosen."""
        rest = iter(fields)
        group = _hash(string(next(rest), chosen.group).encode()) if chosen.group else None
        value = text_of(next(rest), chosen.slice).strip() if chosen.slice else ""
        identity = text_of(next(rest), chosen.id).strip() if chosen.id else ""
        if group is not None:
            self._groups.append(group)
        if chosen.slice:
            self._slices.append(self._slice_values.setdefault(value[:LONGEST_SLICE], len(self._slice_values)))
        if self._ids is not None:
            self._ids.append(identity.encode())

    def finish(self, source: Source) -> tuple[Rows, LabelMap]:
        """All rows of the split and the label map, after the last file. Raises DataError."""
        name = source.name
        if not self.seen:
            raise DataError(f"{self._empty[0] if self._empty else name} has no rows; add a header and at least one row")
        if not len(self) and not self.dropped:
            raise DataError(f"no row of {name} has a label; set label_column to the column of the labels")
        if not len(self):
            raise DataError(
                f"no row of {name} has a label that is in label_map; its labels are {self._labels.label_list}"
            )
        if not any(self._characters):
            raise DataError(f"all texts of {name} are empty; set text_columns to the columns of the text")
        self._spool.flush()
        if self._ids is not None:
            self._ids.flush()
        rows = np.arange(len(self))
        label_map, targets = self._labels.targets(np.asarray(self._codes))
        return Rows(
            texts=Lookup(self._spool.read, rows),
            places=Lookup(self._place, rows),
            ids=Lookup(self._ids.read, rows) if self._ids is not None else None,
            targets=targets,
            characters=np.asarray(self._characters),
            exact=np.asarray(self._exact),
            near=np.asarray(self._near),
            groups=np.asarray(self._groups),
            slices=np.asarray(self._slices),
            slice_values=tuple(self._slice_values),
            dropped=self.dropped,
            unlabelled=self.unlabelled,
            notes=(*source.notes, *self._all_notes(name), *self._labels.notes),
        ), label_map

    def _all_notes(self, channel: str) -> list[str]:
        """The notes on the files, equal ones once."""
        notes = [f"{note} (in {files:,} files)" if files > 1 else note for note, files in self._notes.items()]
        if self._empty:
            notes.append(f"WARNING: {channel} has files without rows: {listed(self._empty)}")
        more = [f"and {len(notes) - SHOWN:,} more notes on the files of {channel}"] if len(notes) > SHOWN else []
        return [*notes[:SHOWN], *more]

    def _place(self, row: int) -> str:
        return place(self._files[bisect_right(self._starts, row) - 1], self._numbers[row], self._lines[row])


@dataclass(frozen=True)
class TextRow:
    """The text of a row, labeled or not."""

    place: str
    id: str | None  #: value of the id column, if there is one
    text: str


def read_texts(path: Path, columns: Columns, options: FileOptions = DEFAULT_OPTIONS) -> Iterator[TextRow]:
    """Yield the rows of one file of any size. Raises DataError."""
    bad, source, chosen = BadRows(skips=False), SourceFile(path, printable(path.name)), Chosen(())

    def choose(names: Sequence[str], first: Sequence[Any]) -> Sequence[str]:
        nonlocal chosen
        chosen = columns.choose_texts(source.name, names, first)
        return chosen.names

    file, rows = open_rows(source, options, choose, bad)
    for number, line, fields in rows:
        texts = fields[: len(chosen.texts)]
        try:
            identity = text_of(fields[-1], chosen.id).strip() if chosen.id else None
            yield TextRow(file.place(number, line), identity, joined(texts, chosen.texts))
        except BadRow as row:
            file.bad(number, line, str(row), row.remedy)
    bad.end_file()


def _hash(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
