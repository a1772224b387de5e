"""The reviews of a channel: a text and a label each, where the row stands, and what else is known of it.

The texts are on disk (spool.py); the rest is some 40 bytes a row in memory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, overload

import numpy as np

import sources
from badrows import BadRows
from columns import Columns
from failures import DataError
from formats import MISSING, Reader
from labels import Labels
from records import LONGEST_FIELD
from spool import Spool

#: A label longer than this, in characters, is no label.
LONGEST_LABEL = 200

#: Metrics of more slices than this nobody reads.
MOST_SLICES = 10_000

#: Of ASCII letters the small ones, and no ASCII white space: texts that are the same so are near duplicates.
_SMALL, _SPACE = bytes(range(256)).lower(), b" \t\r\n\v\f"


class Lookup(Sequence[str]):
    """Strings that are made or read when they are asked for, one for each row."""

    def __init__(self, find: Callable[[int], str], rows: np.ndarray) -> None:
        self._find = find
        self._rows = rows

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
class Reviews:
    """Rows of a channel. `places` says where each stands, as `train/file.tsv line 7`."""

    texts: Lookup
    places: Lookup
    classes: np.ndarray  #: code of the label, or index of its class, int64 [rows]
    characters: np.ndarray  #: of the text, uint32 [rows]
    exact: np.ndarray  #: hash of the text, uint64 [rows]
    near: np.ndarray  #: hash of the text without white space and capitals, uint64 [rows]
    groups: np.ndarray  #: hash of the group, uint64 [rows]; empty without a group column
    slices: np.ndarray  #: index of the slice in `slice_values`, int64 [rows]; empty without a slice column
    slice_values: tuple[str, ...] = ()
    dropped: int = 0  #: rows left out for a label that the map does not have

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, rows: np.ndarray) -> Reviews:
        """The rows of these indices, in their order."""
        return Reviews(
            Lookup(self.texts.__getitem__, rows), Lookup(self.places.__getitem__, rows), self.classes[rows],
            self.characters[rows], self.exact[rows], self.near[rows],
            self.groups[rows] if len(self.groups) else self.groups,
            self.slices[rows] if len(self.slices) else self.slices, self.slice_values, self.dropped,
        )  # fmt: skip

    def with_classes(self, index_of_code: np.ndarray) -> Reviews:
        """The same rows with class indices in the place of label codes."""
        return replace(self, classes=index_of_code[self.classes])


def read(channel: Path, columns: Columns, labels: Labels, bad: BadRows) -> Reviews:
    """Read all files of a channel, or one file, in one pass.

    Raises DataError that names file, line and column, and PlatformError when the disk has no room for the texts.
    """
    table = _Table(labels, bad)
    for path, name in sources.files(channel):
        table.read_file(path, name, columns)
    rows = table.reviews()
    bad.end_channel(channel.name, len(rows) + rows.dropped)
    return rows


class _BadRow(Exception):
    """A row that cannot be used; says why and what to do."""

    def __init__(self, reason: str, remedy: str = "mend or remove the row") -> None:
        super().__init__(reason)
        self.remedy = remedy


class _Table:
    """Rows as they are read."""

    def __init__(self, labels: Labels, bad: BadRows) -> None:
        self._labels = labels
        self._bad = bad
        self._spool = Spool()
        self._classes, self._numbers, self._characters = array("q"), array("I"), array("I")
        self._exact, self._near, self._groups = array("Q"), array("Q"), array("Q")
        self._slices = array("q")
        self._slice_values: dict[str, int] = {}
        self._files: list[str] = []  # name and unit, as `train/a.tsv line`
        self._starts: list[int] = []  # index of each file's first row
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._classes)

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
        bad_before, dropped_before = self._bad.count, self._dropped
        for number, fields in reader.rows():
            try:
                self._add(number, fields, chosen, columns)
            except _BadRow as row:
                self._bad.add(f"{name} {reader.unit} {number}", str(row), row.remedy)
        self._bad.end_file()
        if len(self._slice_values) > MOST_SLICES:
            raise DataError(
                f"{name} has more than {MOST_SLICES:,} values in column {columns.slice!r}; take another slice_column"
            )
        if (len(self), self._bad.count, self._dropped) == (self._starts[-1], bad_before, dropped_before):
            raise DataError(f"{name} has no rows; give it a header and at least one row, or remove the file")

    def _add(self, number: int, fields: Sequence[Any], names: Sequence[str], columns: Columns) -> None:
        end = len(fields) - 1 - bool(columns.group) - bool(columns.slice)
        texts, label, others = fields[:end], fields[end], fields[end + 1 :]
        try:
            text = " ".join([field for field in texts if field != ""])
            content = text.encode()
        except (TypeError, UnicodeEncodeError):
            text = _joined(texts, names)
            content = text.encode()
        if "\0" in text or len(text) > LONGEST_FIELD:
            _refuse_text(texts, names)
        code = self._labels.codes.get(label) if type(label) is str else None
        if code is None:
            spelling = _string(label, names[len(texts)])
            code = self._labels.code(spelling)
        if code < 0:
            if not self._labels.drops_unknown:
                raise _BadRow(f"has the label {label!r}, which is none of {self._labels.known}", self._labels.remedy)
            self._dropped += 1
            return
        sliced = _text(others[-1], columns.slice).strip() if columns.slice else ""
        if columns.group:
            self._groups.append(_hash(_string(others[0], columns.group).encode()))
        if columns.slice:
            self._slices.append(self._slice_values.setdefault(sliced[:LONGEST_LABEL], len(self._slice_values)))
        self._spool.append(content)
        self._classes.append(code)
        self._numbers.append(number)
        self._characters.append(len(text))
        self._exact.append(_hash(content))
        self._near.append(_hash(content.translate(_SMALL, _SPACE)))

    def reviews(self) -> Reviews:
        """All rows, when the last file is read."""
        self._spool.flush()
        rows = np.arange(len(self))
        return Reviews(
            Lookup(self._spool.read, rows), Lookup(self._place, rows),
            np.asarray(self._classes), np.asarray(self._characters), np.asarray(self._exact), np.asarray(self._near),
            np.asarray(self._groups), np.asarray(self._slices), tuple(self._slice_values), self._dropped,
        )  # fmt: skip

    def _place(self, row: int) -> str:
        return f"{self._files[bisect_right(self._starts, row) - 1]} {self._numbers[row]}"


def texts(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    """Each row's place and text, row by row, of one file of any size; no label is wanted. Raises DataError."""
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
            yield place, _joined(fields, chosen)
        except _BadRow as row:
            bad.add(place, str(row), row.remedy)
    bad.end_file()


def _hash(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def _joined(texts: Sequence[Any], names: Sequence[str]) -> str:
    """The text of a row in which not every field is a plain string."""
    if all(text is MISSING for text in texts):
        raise _BadRow(f"has no field {names[0]!r}")
    return " ".join(filter(None, (_text(text, name) for text, name in zip(texts, names, strict=False))))


def _text(value: Any, name: str) -> str:
    """A field as text; empty where there is no value. Raises _BadRow."""
    if value is None or value is MISSING or value != value:  # NaN stands for no value in Parquet
        return ""
    if isinstance(value, dict | list):
        raise _BadRow(f"has a {type(value).__name__} in column {name!r}", "put a text or a number there")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        character = ord(text[error.start])
        if 0xDC80 <= character <= 0xDCFF:
            raise _BadRow(
                f"is not UTF-8 in column {name!r} (byte 0x{character - 0xDC00:02x})", "convert the file to UTF-8"
            ) from None
        raise _BadRow(f"has half a surrogate pair in column {name!r}") from None
    if "\0" in text:
        raise _BadRow(f"has a NUL character in column {name!r}")
    if len(text) > LONGEST_FIELD:
        raise _BadRow(f"has more than {LONGEST_FIELD:,} characters in column {name!r}")
    return text


def _refuse_text(texts: Sequence[Any], names: Sequence[str]) -> None:
    """Say which field is to blame; together they may be too long though none is alone."""
    for text, name in zip(texts, names, strict=False):
        _text(text, name)
    raise _BadRow(f"has a text of more than {LONGEST_FIELD:,} characters")


def _string(value: Any, name: str) -> str:
    """A label or a group: short, and never empty."""
    if value is MISSING:
        raise _BadRow(f"has no field {name!r}")
    text = _text(value, name).strip()
    if not text:
        raise _BadRow(f"has no value in column {name!r}", "fill it in or remove the row")
    if len(text) > LONGEST_LABEL:
        raise _BadRow(f"has {len(text):,} characters in column {name!r}, which is no label or group")
    return text
