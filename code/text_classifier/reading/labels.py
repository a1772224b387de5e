"""Readers of a label column: classes and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading.fields import BadRow, string
from text_classifier.reading.label_cells import only_label
from text_classifier.reading.label_map import LabelMap, natural, normalize, number, variants

#: Maximum number of classes: a column with more holds names, dates or texts.
MOST_CLASSES = 10_000

#: Maximum number of spellings in a reader's `codes`: a column may have as many as rows.
REMEMBERED = 100_000


class LabelReader(Protocol):
    """Reads the label column of a channel: first each field to a code, then, with all rows read, codes to targets."""

    typecode: str  #: array type of the codes
    #: Codes of string fields: `read` fills it, and assembly.py looks there first, to save the call.
    codes: dict[str, Any]

    @property
    def notes(self) -> list[str]:
        """What the user should know of the labels; complete after `targets`."""

    @property
    def label_list(self) -> str:
        """The labels of the map, if there is one."""

    def read(self, value: Any, column: str) -> int | float | None:
        """The code of a field, or of a tuple of fields; None to drop the row because its label is not in the map.

        Raises BadRow, Unlabelled for a row without a label, and DataError.
        """

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The label map, made from the labels read if none was given, and the target of each code, [rows] or
        [rows, labels]. Raises DataError when there are too few labels."""


class Labels:
    """Reads one label per row. Codes are class indices with a map, else numbers in order of first appearance."""

    typecode = "q"

    def __init__(self, label_map: LabelMap | None, *, drops_unknown: bool, most: int = MOST_CLASSES) -> None:
        self.codes: dict[str, int] = {}
        self.notes: list[str] = []
        self.names: list[str] = []  #: label of each code, without a map
        self._drops_unknown = drops_unknown
        self._most = most
        self._map = label_map
        self._code_of_name: dict[str, int] = {}

    @property
    def label_list(self) -> str:
        """The labels of the map, if there is one."""
        return self._map.label_list if self._map else ""

    def code(self, label: str) -> int:
        """The code of a label; -1 when it is not in the map. Raises DataError when there are too many labels."""
        if self._map:
            return self._map.index(label)
        name = normalize(label)
        code = self._code_of_name.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        if len(self.names) > self._most:
            raise DataError(
                f"the label column has more than {self._most:,} distinct labels ({listed(self.names, 3)}); "
                "set label_column to another column, or group the labels with label_map"
            )
        return code

    def read(self, value: Any, column: str) -> int | None:
        """The code of a field. Raises BadRow for a label that is not in the map, unless such rows are dropped."""
        code = self.read_label(only_label(value, column), column)
        if code is not None and isinstance(value, str) and len(self.codes) < REMEMBERED:
            self.codes[value] = code
        return code

    def read_label(self, value: Any, column: str) -> int | None:
        """As `read`, of a single label."""
        label = string(value, column)
        code = self.code(label)
        if code >= 0:
            return code
        if self._drops_unknown:
            return None
        raise BadRow(
            f"has the label {label!r}, which is not one of {self.label_list}",
            "fix the row, add the label to label_map, or set unmapped=drop",
        )

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The map, and the class index of each row, int64 [rows]."""
        if self._map:
            return self._map, codes
        label_map, index_of_code = self.to_map()
        targets = index_of_code[codes]
        self.notes += _odd_one(label_map.classes, np.bincount(targets, minlength=len(label_map.classes)))
        return label_map, targets

    def to_map(self) -> tuple[LabelMap, np.ndarray]:
        """A map with a class per label, in natural order (10 after 2), and the class index of each code, int64 [codes].

        Raises DataError when there is only one class.
        """
        classes = sorted(self.names, key=natural)
        if len(classes) < 2:
            raise DataError(f"all rows have the label {classes[0]!r}; a classifier needs at least two classes")
        self.notes += variants(classes)
        index_of = {name: index for index, name in enumerate(classes)}
        return LabelMap(tuple(classes), index_of), np.array([index_of[name] for name in self.names])


def _odd_one(classes: Sequence[str], counts: np.ndarray) -> list[str]:
    """A note on a class of one row that is a number where the others are words: a line of totals looks so."""
    numbers = [index for index, name in enumerate(classes) if number(name) is not None]
    if len(numbers) == 1 and len(classes) > 2 and counts[numbers[0]] == 1:
        return [f"the class {classes[numbers[0]]!r} has one row and is a number, unlike the others: a line of totals?"]
    return []


#: Name of a regression model's output.
OUTPUT = "value"

#: Largest absolute label of a regression: sums of larger squares may overflow fp32.
LARGEST = 1e15


class Numbers:
    """Reads one number per row; its code is the number itself."""

    typecode = "d"
    label_list = ""

    def __init__(self) -> None:
        self.codes: dict[str, float] = {}
        self.notes: list[str] = []

    def read(self, value: Any, column: str) -> float:
        """The number. Raises BadRow."""
        label = string(only_label(value, column), column)
        code = number(normalize(label))
        if code is None or abs(code) > LARGEST:
            raise BadRow(
                f"has the label {label!r}, which is not a number between -{LARGEST:g} and {LARGEST:g}",
                "write the labels as numbers with a decimal point (4.5), or set task=single_label",
            )
        if isinstance(value, str) and len(self.codes) < REMEMBERED:
            self.codes[value] = code
        return code

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """A map with the name of the output, and the number of each row, float32 [rows]."""
        return LabelMap((OUTPUT,), {}), codes.astype(np.float32)
