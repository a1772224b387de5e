"""Rows of a file in columns, as a process that reads hands them to the one that joins them.

What depends on the rows before, the codes of labels and slices, is left to assembly.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError
from text_classifier.reading.columns import Chosen
from text_classifier.reading.fields import BadRow, joined, refuse_text, string
from text_classifier.reading.fields import text as text_of
from text_classifier.reading.pairs import SEPARATOR
from text_classifier.reading.table import LONGEST_FIELD, Block

#: Maximum length of a slice's value in characters.
LONGEST_SLICE = 200

#: Near duplicates have the same text after lowercasing ASCII letters and deleting ASCII white space.
_LOWER, _SPACE = bytes(range(256)).lower(), b" \t\r\n\v\f"

_PAIR = SEPARATOR.encode()

_NUMBERS = (int, float, bool)


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used, before the row `index` of its batch."""

    index: int
    number: int
    line: int
    reason: str
    remedy: str


@dataclass
class Batch:
    """Consecutive rows of a file, and what is wrong with those that are left out."""

    unit: str  #: what numbers count: "line" or "row"; empty for a text file, which is one row
    content: bytes  #: all texts, as in pairs.py if they are pairs; empty once they are stored (spool.py)
    size: int  #: bytes of the texts and ids
    starts: np.ndarray  #: of the texts in `content`, or in the file in which they are stored, int64 [rows]
    lengths: np.ndarray  #: of the texts in bytes, int64 [rows]
    numbers: np.ndarray  #: uint32 [rows]
    lines: np.ndarray  #: uint32 [rows]
    characters: np.ndarray  #: uint32 [rows]
    exact: np.ndarray  #: uint64 [rows]
    near: np.ndarray  #: uint64 [rows]
    label_column: str
    labels: list[Any]  #: the values of the label column, in order of their first row
    label_of: np.ndarray  #: index in `labels`, int64 [rows]
    more: list[tuple[int, str, bytes] | BadRow]  #: hash of the group, slice and id of each row; empty without them
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> Batch:
        """The rows with these indices, in their order, without what is wrong with others. The content stays."""
        return replace(
            self,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            numbers=self.numbers[rows],
            lines=self.lines[rows],
            characters=self.characters[rows],
            exact=self.exact[rows],
            near=self.near[rows],
            label_of=self.label_of[rows],
            more=[self.more[row] for row in rows.tolist()] if self.more else [],
            problems=[],
        )


class Enough(DataError):
    """So many rows cannot be used that the reading may end."""


class Collector:
    """Collects the rows of a file to a batch."""

    def __init__(self, most_problems: int | None) -> None:
        self.chosen = Chosen(())
        self.problems: list[Problem] = []
        self._most = most_problems
        self._clear()

    def _clear(self) -> None:
        self._contents: list[bytes] = []
        self._numbers, self._lines, self._characters = array("I"), array("I"), array("I")
        self._labels: list[Any] = []
        self._index_of_label: dict[Any, int] = {}
        self._label_of = array("q")
        self._more: list[tuple[int, str, bytes] | BadRow] = []
        self.problems = []
        self.size = 0  #: bytes of the texts and ids

    def __len__(self) -> int:
        return len(self._contents)

    def add_problem(self, number: int, line: int, reason: str, remedy: str) -> None:
        """Add a row that cannot be used. Raises Enough at the last one that is wanted."""
        self.problems.append(Problem(len(self), number, line, reason, remedy))
        if self._most is not None:
            self._most -= 1
            if self._most <= 0:
                raise Enough(reason)

    def add(self, number: int, line: int, fields: Sequence[Any]) -> None:
        """Add a row, or what is wrong with its text."""
        chosen = self.chosen
        end = len(chosen.texts)
        try:
            text, content = _text(fields[:end], chosen.texts)
            characters = len(text)
            if chosen.pairs:
                start, end = end, end + len(chosen.pairs)
                text, second = _text(fields[start:end], chosen.pairs)
                characters, content = characters + len(text), _PAIR.join((content, second))
        except BadRow as row:
            self.add_problem(number, line, str(row), row.remedy)
            return
        labels_end = end + len(chosen.labels)
        label = fields[end] if len(chosen.labels) == 1 else tuple(fields[end:labels_end])
        self._contents.append(content)
        self.size += len(content)
        self._numbers.append(number)
        self._lines.append(line)
        self._characters.append(characters)
        self._label_of.append(self._label_index(label))
        if len(fields) > labels_end:
            self._add_more(fields[labels_end:])

    def _label_index(self, label: Any) -> int:
        """The index of a label's value: the same one for texts and numbers that are written alike, so that each is read
        once."""
        key = label if type(label) is str else (type(label), str(label)) if type(label) in _NUMBERS else None
        index = self._index_of_label.get(key) if key is not None else None
        if index is None:
            index = len(self._labels)
            self._labels.append(label)
            if key is not None:
                self._index_of_label[key] = index
        return index

    def add_block(self, block: Block) -> None:
        """Add rows of which all texts are good."""
        chosen, rows = self.chosen, len(block)
        columns = iter(block.columns)
        texts, pairs, labels = (
            list(islice(columns, len(names))) for names in (chosen.texts, chosen.pairs, chosen.labels)
        )
        contents = _joined(texts)
        if pairs:
            contents = list(map(_PAIR.join, zip(contents, _joined(pairs), strict=True)))
        self._contents += contents
        lengths = list(map(len, contents))
        self.size += sum(lengths)
        self._numbers.extend(range(block.number, block.number + rows))
        self._lines.extend(range(block.line, block.line + rows))
        characters = lengths if block.is_ascii else [len(content.decode()) for content in contents]
        self._characters.extend([count - len(_PAIR) for count in characters] if pairs else characters)
        values: Sequence[Any] = labels[0] if len(labels) == 1 else list(zip(*labels, strict=True))
        index_of = {value: self._label_index(_decoded(value)) for value in dict.fromkeys(values)}
        self._label_of.extend(map(index_of.__getitem__, values))
        for fields in zip(*columns, strict=True):
            self._add_more([field.decode() for field in fields])

    def _add_more(self, fields: Sequence[Any]) -> None:
        more = _more(fields, self.chosen)
        self._more.append(more)
        self.size += 0 if isinstance(more, BadRow) else len(more[2])

    def take(self, unit: str) -> Batch:
        """The rows since the last call."""
        contents = self._contents
        lengths = np.fromiter(map(len, contents), np.int64, len(contents))
        batch = Batch(
            unit=unit,
            content=b"".join(contents),
            size=self.size,
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            numbers=np.array(self._numbers, np.uint32),
            lines=np.array(self._lines, np.uint32),
            characters=np.array(self._characters, np.uint32),
            exact=_hashes(contents),
            near=_hashes([content.translate(_LOWER, _SPACE) for content in contents]),
            label_column=(*self.chosen.labels, "")[0],
            labels=self._labels,
            label_of=np.array(self._label_of, np.int64),
            more=self._more,
            problems=self.problems,
        )
        self._clear()
        return batch


def _joined(columns: Sequence[Sequence[bytes]]) -> Sequence[bytes]:
    """The text of each row, of several columns."""
    return columns[0] if len(columns) == 1 else [b" ".join(filter(None, row)) for row in zip(*columns, strict=True)]


def _text(texts: Sequence[Any], names: Sequence[str]) -> tuple[str, bytes]:
    """The text of a row, also in UTF-8. Raises BadRow."""
    try:
        text = " ".join([field for field in texts if field != ""])
        content = text.encode()
    except (TypeError, UnicodeEncodeError):
        text = joined(texts, names)
        content = text.encode()
    if "\0" in text or len(text) > LONGEST_FIELD:
        refuse_text(texts, names)
    return text, content


def _more(fields: Sequence[Any], chosen: Chosen) -> tuple[int, str, bytes] | BadRow:
    """The hash of the group, the slice and the id of a row, those that are chosen; or what is wrong with one."""
    rest = iter(fields)
    try:
        group = hash_of(string(next(rest), chosen.group).encode()) if chosen.group else 0
        value = text_of(next(rest), chosen.slice).strip()[:LONGEST_SLICE] if chosen.slice else ""
        return group, value, text_of(next(rest), chosen.id).strip().encode() if chosen.id else b""
    except BadRow as row:
        return row


def _decoded(value: bytes | tuple[bytes, ...]) -> Any:
    return value.decode() if isinstance(value, bytes) else tuple(part.decode() for part in value)


def hash_of(content: bytes) -> int:
    """A hash of 64 bits, the same on all machines."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def _hashes(contents: Sequence[bytes]) -> np.ndarray:
    """As `hash_of`, uint64 [contents]."""
    return np.frombuffer(b"".join([blake2b(content, digest_size=8).digest() for content in contents]), "<u8")
