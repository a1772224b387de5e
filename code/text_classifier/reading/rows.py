"""The rows of a channel: text, target and place of each, hashes for duplicates, group and slice.

The texts are on disk (spool.py); the rest takes about 40 bytes of memory per row.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, overload

import numpy as np

from text_classifier.contract.errors import DataError
from text_classifier.reading import sources
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.columns import Columns
from text_classifier.reading.fields import BadRow, joined, refuse_text, string
from text_classifier.reading.fields import text as text_of
from text_classifier.reading.formats import Reader
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import LabelReader
from text_classifier.reading.records import LONGEST_FIELD
from text_classifier.reading.spool import Spool

#: Maximum number of slices, and maximum length of a slice's value in characters.
MOST_SLICES = 10_000
LONGEST_SLICE = 200

#: Near duplicates have the same text after lowercasing ASCII letters and deleting ASCII white space.
_LOWER, _SPACE = bytes(range(256)).lower(), b" \t\r\n\v\f"


class Lookup(Sequence[str]):
    """A string per row, made by `find` from the row's number in the channel when it is asked for."""

    def __init__(self, find: Callable[[int], str], rows: np.ndarray) -> None:
        self._find = find
        self._rows = rows

    def take(self, rows: np.ndarray) -> Lookup:
        """The strings of the rows with these indices, in their order."""
        return Lookup(self._find, self._rows[rows])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._find(row) for row in self._rows[index].tolist()]
        return self._find(int(self._rows[index]))


@dataclass(frozen=True)
class Rows:
    """Rows of a channel. A place is file and line, as in `train/file.tsv line 7`."""

    texts: Lookup
    places: Lookup
    targets: np.ndarray  #: as the task defines them, [rows] or [rows, labels]
    characters: np.ndarray  #: length of the text, uint32 [rows]
    exact: np.ndarray  #: hash of the text, uint64 [rows]
    near: np.ndarray  #: hash of the lowercased text without white space, uint64 [rows]
    groups: np.ndarray  #: hash of the group, uint64 [rows]; empty without a group column
    slices: np.ndarray  #: index of the slice in `slice_values`, int64 [rows]; empty without a slice column
    slice_values: tuple[str, ...] = ()
    dropped: int = 0  #: rows dropped because their label is not in the map

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> Rows:
        """The rows with these indices, in their order."""
        return Rows(
            texts=self.texts.take(rows),
            places=self.places.take(rows),
            targets=self.targets[rows],
            characters=self.characters[rows],
            exact=self.exact[rows],
            near=self.near[rows],
            groups=self.groups[rows] if len(self.groups) else self.groups,
            slices=self.slices[rows] if len(self.slices) else self.slices,
            slice_values=self.slice_values,
            dropped=self.dropped,
        )


def read_rows(channel: Path, columns: Columns, labels: LabelReader, bad: BadRows) -> tuple[Rows, LabelMap]:
    """Read all files of a channel, or one file, in one pass. Returns the rows and the label map of their targets.

    Raises DataError that names file, line and column, and PlatformError when the disk has no space for the texts.
    """
    table = _Table(labels, bad)
    for path, name in sources.files(channel):
        table.read_file(path, name, columns)
    bad.end_channel(channel.name, len(table) + table.dropped)
    return table.finish(channel.name)


class _Table:
    """The columns of the rows read so far."""

    def __init__(self, labels: LabelReader, bad: BadRows) -> None:
        self._labels = labels
        self._bad = bad
        self._spool = Spool()
        self._codes: array[Any] = array(labels.typecode)
        self._numbers, self._characters = array("I"), array("I")
        self._exact, self._near, self._groups = array("Q"), array("Q"), array("Q")
        self._slices = array("q")
        self._slice_values: dict[str, int] = {}
        self._files: list[str] = []  # name and unit, as in `train/a.tsv line`
        self._starts: list[int] = []  # index of each file's first row
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._codes)

    def read_file(self, path: Path, name: str, columns: Columns) -> None:
        """Add the rows of a file."""
        chosen: tuple[str, ...] = ()

        def choose(names: Sequence[str]) -> tuple[str, ...]:
            nonlocal chosen
            chosen = columns.choose(name, names)
            return chosen

        reader = Reader(path, name, choose, self._bad)
        self._files.append(f"{name} {reader.unit}")
        self._starts.append(len(self))
        bad_before, dropped_before = self._bad.count, self.dropped
        for number, fields in reader.rows():
            try:
                self._add(number, fields, chosen, columns)
            except BadRow as row:
                self._bad.add(f"{name} {reader.unit} {number}", str(row), row.remedy)
            except DataError as error:  # too many labels: not the fault of a single row
                raise DataError(f"{name} {reader.unit} {number}: {error}") from None
        self._bad.end_file()
        if len(self._slice_values) > MOST_SLICES:
            raise DataError(
                f"{name} has more than {MOST_SLICES:,} values in column {columns.slice!r}; choose another slice_column"
            )
        if (len(self), self._bad.count, self.dropped) == (self._starts[-1], bad_before, dropped_before):
            raise DataError(f"{name} has no rows; add a header and at least one row, or remove the file")

    def _add(self, number: int, fields: Sequence[Any], names: Sequence[str], columns: Columns) -> None:
        end = len(fields) - 1 - bool(columns.group) - bool(columns.slice)
        texts, label, rest = fields[:end], fields[end], fields[end + 1 :]
        try:
            text = " ".join([field for field in texts if field != ""])
            content = text.encode()
        except (TypeError, UnicodeEncodeError):
            text = joined(texts, names)
            content = text.encode()
        if "\0" in text or len(text) > LONGEST_FIELD:
            refuse_text(texts, names)
        code = self._labels.codes.get(label) if type(label) is str else None
        if code is None:
            code = self._labels.read(label, names[len(texts)])
        if code is None:
            self.dropped += 1
            return
        value = text_of(rest[-1], columns.slice).strip() if columns.slice else ""
        if columns.group:
            self._groups.append(_hash(string(rest[0], columns.group).encode()))
        if columns.slice:
            self._slices.append(self._slice_values.setdefault(value[:LONGEST_SLICE], len(self._slice_values)))
        self._spool.append(content)
        self._codes.append(code)
        self._numbers.append(number)
        self._characters.append(len(text))
        self._exact.append(_hash(content))
        self._near.append(_hash(content.translate(_LOWER, _SPACE)))

    def finish(self, name: str) -> tuple[Rows, LabelMap]:
        """All rows of the channel `name` and the label map, after the last file. Raises DataError."""
        if not len(self):
            raise DataError(
                f"no row of {name} has a label that is in label_map; its labels are {self._labels.label_list}"
            )
        if not any(self._characters):
            raise DataError(f"all texts of {name} are empty; set text_columns to the columns of the text")
        self._spool.flush()
        rows = np.arange(len(self))
        label_map, targets = self._labels.targets(np.asarray(self._codes))
        return Rows(
            texts=Lookup(self._spool.read, rows),
            places=Lookup(self._place, rows),
            targets=targets,
            characters=np.asarray(self._characters),
            exact=np.asarray(self._exact),
            near=np.asarray(self._near),
            groups=np.asarray(self._groups),
            slices=np.asarray(self._slices),
            slice_values=tuple(self._slice_values),
            dropped=self.dropped,
        ), label_map

    def _place(self, row: int) -> str:
        return f"{self._files[bisect_right(self._starts, row) - 1]} {self._numbers[row]}"


def read_texts(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield the place and text of each row of one file of any size, labeled or not. Raises DataError."""
    bad = BadRows(skips=False)
    chosen: tuple[str, ...] = ()

    def choose(names: Sequence[str]) -> tuple[str, ...]:
        nonlocal chosen
        chosen = columns.choose_texts(path.name, names)
        return chosen

    reader = Reader(path, path.name, choose, bad)
    for number, fields in reader.rows():
        place = f"{path.name} {reader.unit} {number}"
        try:
            yield place, joined(fields, chosen)
        except BadRow as row:
            bad.add(place, str(row), row.remedy)
    bad.end_file()


def _hash(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
