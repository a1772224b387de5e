"""Labels to classes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from failures import DataError, SettingsError, printable

#: More classes than this are no classes: the column is of names, dates or texts.
MOST_CLASSES = 10_000

#: Spellings of labels whose code is remembered; there may be as many as rows.
_REMEMBERED = 100_000

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
        number = _number(label)
        if found is None and number is not None:
            found = next((span.index for span in self.ranges if number in span), None)
        return -1 if found is None else found

    @property
    def known(self) -> str:
        """The labels of the map as a list for messages."""
        return listed(sorted(self.index_of, key=natural), most=20)


class Labels:
    """Codes of labels: class indices where there is a map, else numbers in the order in which labels first come up."""

    remedy = "mend the row, add the label to label_map, or set unmapped=drop"

    def __init__(self, label_map: LabelMap | None, *, drops_unknown: bool) -> None:
        self.codes: dict[str, int] = {}  #: of spellings already met
        self.names: list[str] = []  #: of the codes, where there is no map
        self.drops_unknown = drops_unknown
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
            if len(self.names) > MOST_CLASSES:
                raise DataError(
                    f"the label column has more than {MOST_CLASSES:,} different labels ({listed(self.names, 3)}); "
                    "set label_column to another column, or group the labels with label_map"
                )
        if len(self.codes) < _REMEMBERED:
            self.codes[label] = code
        return code

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
    points = [Range(n, n, index) for label, index in index_of.items() if (n := _number(label)) is not None]
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
    number = _number(text)
    if number is not None:
        return [(0, number, text)]
    parts = re.split(r"(\d+)", text)
    return [(0, float(part), part) if part.isdecimal() else (1, 0.0, part) for part in parts if part]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


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
