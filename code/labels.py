"""Labels to classes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from failures import DataError, SettingsError, printable
from fields import BadRow, string

#: More classes than this are no classes: the column is of names, dates or texts.
MOST_CLASSES = 10_000

#: Spellings of labels whose code is remembered; there may be as many as rows.
REMEMBERED = 100_000

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*-\s*({_NUMBER})\s*")
_EXAMPLE = "1-3=negative;4,5=positive"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, that are of the class `index`."""

    low: float
    high: float
    index: int

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high


@dataclass(frozen=True)
class LabelMap:
    """Class names in the order of their indices, and the labels and ranges of numbers that make each class."""

    classes: tuple[str, ...]
    index_of: dict[str, int]
    ranges: tuple[Range, ...] = ()

    def index(self, label: str) -> int:
        """The class index of a label; -1 for one that is not in the map."""
        label = normalise(label)
        found = self.index_of.get(label)
        value = number(label)
        if found is None and value is not None:
            found = next((span.index for span in self.ranges if value in span), None)
        return -1 if found is None else found

    @property
    def known(self) -> str:
        """The labels of the map as a list for messages."""
        return listed(sorted(self.index_of, key=natural), most=20)


class LabelReader(Protocol):
    """Turns the label column of a channel, row by row, into codes: one number a row, of the array type `typecode`."""

    typecode: str
    codes: dict[str, Any]  #: of fields already met, where these were strings

    @property
    def known(self) -> str:
        """The labels that have a code, where there is a map."""

    def read(self, value: Any, column: str) -> int | float | None:
        """The code of a field; None for a row that is to be left out. Raises BadRow and DataError."""

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """When all is read: the map, made of the labels that were met where there was none, and what each row's code
        stands for, [rows] or [rows, labels]. Raises DataError when there is nothing to tell apart."""


class Labels:
    """Codes of labels: class indices where there is a map, else numbers in the order in which labels first come up."""

    typecode = "q"

    def __init__(self, label_map: LabelMap | None, *, drops_unknown: bool, most: int = MOST_CLASSES) -> None:
        self.codes: dict[str, int] = {}
        self.names: list[str] = []  #: of the codes, where there is no map
        self._drops_unknown = drops_unknown
        self._most = most
        self._map = label_map
        self._code_of_name: dict[str, int] = {}

    @property
    def known(self) -> str:
        """The labels that have a code, where there is a map."""
        return self._map.known if self._map else ""

    def code(self, label: str) -> int:
        """The code of a label; -1 for one that the map does not have. Raises DataError when there are too many."""
        if self._map:
            code = self._map.index(label)
        else:
            name = normalise(label)
            code = self._code_of_name.setdefault(name, len(self.names))
            if code == len(self.names):
                self.names.append(name)
            if len(self.names) > self._most:
                raise DataError(
                    f"the label column has more than {self._most:,} different labels ({listed(self.names, 3)}); "
                    "set label_column to another column, or group the labels with label_map"
                )
        if code >= 0 and len(self.codes) < REMEMBERED:
            self.codes[label] = code
        return code

    def read(self, value: Any, column: str) -> int | None:
        """The code of a field. Raises BadRow for a label that the map does not have, unless such rows are dropped."""
        label = string(value, column)
        code = self.code(label)
        if code >= 0:
            return code
        if self._drops_unknown:
            return None
        raise BadRow(
            f"has the label {label!r}, which is none of {self.known}",
            "mend the row, add the label to label_map, or set unmapped=drop",
        )

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The map, and the class index of each row, int64 [rows]."""
        if self._map:
            return self._map, codes
        label_map, index_of_code = self.to_map()
        return label_map, index_of_code[codes]

    def to_map(self) -> tuple[LabelMap, np.ndarray]:
        """Each label a class, in natural order (10 after 2); and the class index of each code, int64 [codes].

        Raises DataError when there is one class only.
        """
        classes = sorted(self.names, key=natural)
        if len(classes) < 2:
            raise DataError(f"all rows have the label {classes[0]!r}; a classifier needs at least two classes")
        index_of = {name: index for index, name in enumerate(classes)}
        return LabelMap(tuple(classes), index_of), np.array([index_of[name] for name in self.names])


def parse(text: str) -> LabelMap | None:
    """Read `1-3=negative;4,5=positive`; None for an empty text. Classes stand in the order of the map.

    `1-3` is each number from 1 to 3, and the label `1-3` itself. Raises SettingsError.
    """
    if not text.strip():
        return None
    index_of: dict[str, int] = {}
    ranges: list[Range] = []
    classes: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        labels, equals, name = (piece.strip() for piece in part.rpartition("="))
        if not (labels and equals and name):
            raise SettingsError(f"label_map has {part!r}; write it as {_EXAMPLE}")
        if name not in classes:
            classes.append(name)
        for label in map(normalise, labels.split(",")):
            if index_of.setdefault(label, classes.index(name)) != classes.index(name):
                raise SettingsError(f"label_map puts {label!r} into two classes; leave it in one")
            if found := _RANGE.fullmatch(label):
                low, high = map(float, found.groups())
                if low > high:
                    raise SettingsError(f"label_map has the range {label!r}; write the smaller number first")
                ranges.append(Range(low, high, classes.index(name)))
    if len(classes) < 2:
        raise SettingsError(f"label_map {text!r} makes fewer than two classes; write it as {_EXAMPLE}")
    _require_disjoint(index_of, ranges)
    return LabelMap(tuple(classes), index_of, tuple(ranges))


def _require_disjoint(index_of: dict[str, int], ranges: list[Range]) -> None:
    points = [Range(n, n, index) for label, index in index_of.items() if (n := number(label)) is not None]
    spans = sorted([*points, *ranges], key=lambda span: (span.low, span.high))
    reached = spans[:1]
    for span in spans[1:]:
        both = next((other for other in reached if span.low in other and other.index != span.index), None)
        if both:
            raise SettingsError(f"label_map puts {span.low:g} into two classes; leave it in one")
        reached.append(span)


def normalise(label: str) -> str:
    """One spelling for one label: `5`, ` 5 `, `"5"` and `5.0` are the same."""
    label = label.strip()
    if len(label) > 2 and label[0] == label[-1] == '"':
        label = label[1:-1].strip()
    return label.partition(".")[0] if re.fullmatch(r"[+-]?\d+\.0+", label) else label


def natural(text: str) -> list[tuple[int, float, str]]:
    """Sort key that puts 10 after 2 and -1 before 0."""
    value = number(text)
    if value is not None:
        return [(0, value, text)]
    parts = re.split(r"(\d+)", text)
    return [(0, float(part), part) if part.isdecimal() else (1, 0.0, part) for part in parts if part]


def number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def require_all_classes(classes: np.ndarray, names: tuple[str, ...]) -> None:
    """Raises DataError when a class has no training row: it could never be predicted."""
    missing = without_rows(classes, names)
    if missing:
        raise DataError(f"no training row has the class {missing[0]!r}; add rows of it or take it out of label_map")


def without_rows(classes: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The classes that none of these rows has."""
    counts = np.bincount(classes, minlength=len(names))
    return [name for name, count in zip(names, counts.tolist(), strict=True) if not count]


def balanced_weights(classes: np.ndarray, count: int) -> np.ndarray:
    """Weights in which all classes together weigh alike, and the mean over these rows is 1; float32 [classes].

    They are rows / (classes * rows of the class), as scikit-learn's `class_weight="balanced"` has them.
    """
    return (len(classes) / (count * np.bincount(classes, minlength=count))).astype(np.float32)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, for a message."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more
