"""Labels to classes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading.fields import BadRow, string
from text_classifier.reading.label_map import LabelMap, natural, normalize, number

#: More classes than this are no classes: the column is of names, dates or texts.
MOST_CLASSES = 10_000

#: Spellings of labels whose code is remembered; there may be as many as rows.
REMEMBERED = 100_000


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
            name = normalize(label)
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


#: What the one output is called.
OUTPUT = "value"


#: Squares of larger numbers have no place in fp32.
LARGEST = 1e15


class Numbers:
    """Reads labels that are numbers; the code of one is the number itself."""

    typecode = "d"
    known = ""

    def __init__(self) -> None:
        self.codes: dict[str, float] = {}

    def read(self, value: Any, column: str) -> float:
        """The number. Raises BadRow."""
        label = string(value, column)
        found = number(normalize(label))
        if found is None or abs(found) > LARGEST:
            raise BadRow(
                f"has the label {label!r}, which is no number of at most {LARGEST:g}",
                "write the labels as numbers with a point (4.5), or set task=single_label",
            )
        if isinstance(value, str) and len(self.codes) < REMEMBERED:
            self.codes[value] = found
        return found

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The name of the output, and the number of each row, float32 [rows]."""
        return LabelMap((OUTPUT,), {}), codes.astype(np.float32)
