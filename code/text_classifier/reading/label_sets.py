"""Reader of a label column with any number of labels per row, for task=multi_label."""

from __future__ import annotations

from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError
from text_classifier.reading.fields import BadRow, text
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import REMEMBERED, Labels
from text_classifier.reading.table import MISSING

#: Maximum number of distinct labels: targets take a byte for each label of each row.
MOST_LABELS = 1_000


class LabelSets:
    """Reads the labels of a row, a text with separators or a list in JSON or Parquet. A code is the index of a set."""

    typecode = "q"

    def __init__(self, label_map: LabelMap | None, separator: str, *, drops_unknown: bool) -> None:
        self.codes: dict[str, int] = {}
        self._labels = Labels(label_map, drops_unknown=drops_unknown, most=MOST_LABELS)
        self._has_map = label_map is not None
        self._separator = separator
        self._sets: dict[tuple[int, ...], int] = {}

    @property
    def label_list(self) -> str:
        """The labels of the map, if there is one."""
        return self._labels.label_list

    def read(self, value: Any, column: str) -> int | None:
        """The code of the row's set; None to drop the row, for a label that is not in the map. Raises BadRow."""
        if value is MISSING:
            raise BadRow(f"has no field {column!r}")
        parts = value
        if not isinstance(value, list):
            parts = [part for part in text(value, column).split(self._separator) if part.strip()]
        labels = [self._labels.read(part, column) for part in parts]
        if None in labels:
            return None
        code = self._sets.setdefault(tuple(sorted({label for label in labels if label is not None})), len(self._sets))
        if isinstance(value, str) and len(self.codes) < REMEMBERED:
            self.codes[value] = code
        return code

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The map, and the labels of each row, uint8 [rows, labels]. Raises DataError for fewer than two labels."""
        names = self._labels.names
        if not self._has_map and len(names) < 2:
            raise DataError(
                f"the rows have {f'only the label {names[0]!r}' if names else 'no labels'}; task=multi_label needs at "
                f"least two distinct labels, separated by label_separator={self._separator!r}"
            )
        label_codes = np.array([code for labels in self._sets for code in labels], dtype=np.int64)
        label_map, columns = self._labels.targets(label_codes)
        members = np.zeros((len(self._sets), len(label_map.classes)), dtype=np.uint8)
        members[np.repeat(np.arange(len(self._sets)), [len(labels) for labels in self._sets]), columns] = 1
        return label_map, members[codes]
