"""Readers of any number of labels per row, for task=multi_label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading.fields import BadRow, Unlabelled, text
from text_classifier.reading.label_cells import is_multi_hot, labels_in
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import REMEMBERED, Labels
from text_classifier.reading.table import MISSING

#: Maximum number of distinct labels: targets take a byte for each label of each row.
MOST_LABELS = 1_000

#: What marks a label in its own column, and what does not.
_MARKS = {"1": True, "true": True, "yes": True, "x": True, "0": False, "false": False, "no": False, "": False}


class LabelSets:
    """Reads the labels of a row. A code is the index of a set of labels.

    The labels are a list in JSON or Parquet, a text with separators, or a text that spells a list. With `names` they
    are a list of 0 and 1, one for each name; without names such lists are refused, because they name no label.
    """

    typecode = "q"

    def __init__(
        self, label_map: LabelMap | None, separator: str, names: Sequence[str] = (), *, drops_unknown: bool
    ) -> None:
        self.codes: dict[str, int] = {}
        self._labels = Labels(label_map, drops_unknown=drops_unknown, most=MOST_LABELS)
        self._has_map = label_map is not None
        self._separator = separator
        self._positions = names
        self._sets: dict[tuple[int, ...], int] = {}
        self._is_multi_hot = not names  # all lists so far
        self._widths: set[int] = set()

    @property
    def notes(self) -> list[str]:
        """What the user should know of the labels."""
        return self._labels.notes

    @property
    def label_list(self) -> str:
        """The labels of the map, if there is one."""
        return self._labels.label_list

    def read(self, value: Any, column: str) -> int | None:
        """The code of the row's set; None to drop the row, for a label that is not in the map. Raises BadRow."""
        if value is MISSING:
            raise Unlabelled(f"has no field {column!r}")
        parts = labels_in(value, column)
        if self._positions:
            parts = self._marked(parts, column)
        elif parts is None:
            self._is_multi_hot = False
            parts = text(value, column).split(self._separator)
        elif self._is_multi_hot:
            self._is_multi_hot = is_multi_hot(parts)
            self._widths.add(len(parts))
        code = self.code_of((part for part in parts if not isinstance(part, str) or part.strip()), column)
        if code is not None and isinstance(value, str) and len(self.codes) < REMEMBERED:
            self.codes[value] = code
        return code

    def _marked(self, parts: Sequence[Any] | None, column: str) -> list[str]:
        """The names at the positions that are 1. Raises BadRow."""
        if parts is None or len(parts) != len(self._positions) or not all(part in (0, 1) for part in parts):
            raise BadRow(
                f"has no list of {len(self._positions)} numbers, each 0 or 1, in column {column!r}",
                "fix the row, or set label_names to the names of all positions",
            )
        return [name for name, part in zip(self._positions, parts, strict=True) if part]

    def code_of(self, labels: Iterable[Any], column: str) -> int | None:
        """The code of a set of labels; None if one of them is not in the map. Raises BadRow."""
        codes = [self._labels.read_label(label, column) for label in labels]
        if None in codes:
            return None
        return self._sets.setdefault(tuple(sorted({code for code in codes if code is not None})), len(self._sets))

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The map, and the labels of each row, uint8 [rows, labels]. Raises DataError for fewer than two labels, and
        for lists that mark labels by position."""
        if self._is_multi_hot and len(self._widths) == 1:
            raise DataError(
                f"each row has a list of {self._widths.pop()} numbers, all 0 or 1, so a label is marked by its "
                "position; name the positions with label_names=first,second,..."
            )
        names = self._labels.names
        if not self._has_map and len(names) < 2:
            raise DataError(
                f"the rows have {f'only the label {names[0]!r}' if names else 'no labels'}; task=multi_label needs at "
                f"least two distinct labels, separated by label_separator={self._separator!r}"
            )
        label_codes = np.array([code for labels in self._sets for code in labels], dtype=np.int64)
        if self._has_map:
            label_map, columns = self._labels.targets(label_codes)
        else:
            label_map, index_of_code = self._labels.to_map()
            columns = index_of_code[label_codes]
        members = np.zeros((len(self._sets), len(label_map.classes)), dtype=np.uint8)
        members[np.repeat(np.arange(len(self._sets)), [len(labels) for labels in self._sets]), columns] = 1
        return label_map, members[codes]


class LabelColumns:
    """Reads one column for each label, which marks the rows that have it. A code is the index of a set of labels."""

    typecode = "q"

    def __init__(self, names: Sequence[str], label_map: LabelMap | None) -> None:
        self.codes: dict[str, int] = {}
        self.notes: list[str] = []
        self._names = names
        self._map = label_map or LabelMap(tuple(names), {name: index for index, name in enumerate(names)})
        self._sets: dict[tuple[bool, ...], int] = {}

    @property
    def label_list(self) -> str:
        """The names of the columns."""
        return listed(self._names, most=20)

    def read(self, value: Any, column: str) -> int:
        """The code of a tuple of fields, one for each label, or of the field of the only one. Raises BadRow, and
        Unlabelled if all are empty or -1."""
        marks = value if isinstance(value, tuple) else (value,)
        spelled = [text(field, name).strip().lower() for field, name in zip(marks, self._names, strict=True)]
        spelled = [mark.removesuffix(".0") for mark in spelled]
        if all(mark in ("", "-1") for mark in spelled):
            raise Unlabelled(f"has no value in the columns {self.label_list}", "fill them in or remove the row")
        for name, mark in zip(self._names, spelled, strict=True):
            if mark not in _MARKS:
                raise BadRow(f"has {mark[:40]!r} in the label column {name!r}", "write 1 or 0")
        return self._sets.setdefault(tuple(_MARKS[mark] for mark in spelled), len(self._sets))

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The map of the columns' names, and the labels of each row, uint8 [rows, labels]."""
        return self._map, np.array(list(self._sets), dtype=np.uint8)[codes]
