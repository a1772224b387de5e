"""Labels to classes, and rows to splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from failures import DataError, SettingsError
from reviews import Reviews


@dataclass(frozen=True)
class LabelMap:
    """Class names in the order of their indices, and the class index of each label."""

    classes: tuple[str, ...]
    index_of: dict[str, int]

    def apply(self, reviews: Reviews) -> np.ndarray:
        """Class index of each row, int64 [rows]. Raises DataError that names the first row outside the map."""
        indices = np.empty(len(reviews), dtype=np.int64)
        for row, label in enumerate(reviews.labels):
            index = self.index_of.get(normalise(label))
            if index is None:
                known = ", ".join(sorted(self.index_of, key=natural))
                raise DataError(
                    f"{reviews.places[row]} has the label {label!r}, which is none of {known}; "
                    "mend the row or add the label to label_map"
                )
            indices[row] = index
        return indices


def label_map(text: str, labels: Iterable[str]) -> LabelMap:
    """Read `1,2,3=negative;4,5=positive`; for an empty text each distinct label of `labels` is a class.

    Classes of a map stand in its order, others in natural order (10 after 2). Raises SettingsError or DataError.
    """
    if text.strip():
        index_of, classes = _parse(text)
    else:
        classes = sorted({normalise(label) for label in labels}, key=natural)
        index_of = {name: index for index, name in enumerate(classes)}
    if len(classes) < 2:
        raise DataError(f"all rows have the label {classes[0]!r}; a classifier needs at least two classes")
    return LabelMap(tuple(classes), index_of)


def _parse(text: str) -> tuple[dict[str, int], list[str]]:
    index_of: dict[str, int] = {}
    classes: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        labels, equals, name = (piece.strip() for piece in part.rpartition("="))
        if not (labels and equals and name):
            raise SettingsError(f"label_map has {part!r}; write it as 1,2,3=negative;4,5=positive")
        if name not in classes:
            classes.append(name)
        for label in map(normalise, labels.split(",")):
            if index_of.setdefault(label, classes.index(name)) != classes.index(name):
                raise SettingsError(f"label_map puts {label!r} into two classes; leave it in one")
    if len(classes) < 2:
        raise SettingsError(f"label_map {text!r} makes fewer than two classes; write it as 1,2,3=negative;4,5=positive")
    return index_of, classes


def normalise(label: str) -> str:
    """One spelling for one label: `5`, ` 5 ` and `5.0` are the same."""
    label = label.strip()
    return label.partition(".")[0] if re.fullmatch(r"[+-]?\d+\.0+", label) else label


def natural(text: str) -> list[tuple[int, float, str]]:
    """Sort key that puts 10 after 2 and -1 before 0."""
    try:
        return [(0, float(text), "")]
    except ValueError:
        parts = re.split(r"(\d+)", text)
        return [(0, float(part), "") if part.isdigit() else (1, 0.0, part) for part in parts if part]


def require_all_classes(classes: np.ndarray, names: tuple[str, ...]) -> None:
    """Raises DataError when a class has no training row: it could never be predicted."""
    missing = [name for index, name in enumerate(names) if not np.any(classes == index)]
    if missing:
        raise DataError(f"no training row has the class {missing[0]!r}; add rows of it or take it out of label_map")


def sample(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Indices of a seeded sample of `wanted` rows in file order, or of all rows when wanted is 0. int64."""
    if not wanted or wanted >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng((seed, 0)).choice(rows, size=wanted, replace=False))


def split(classes: np.ndarray, train_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split row indices into training and validation, stratified by class: both in file order, int64.

    Each class keeps at least one training row; a class of two rows or more gives at least one to validation.
    """
    random = np.random.default_rng((seed, 1))
    held_out: list[int] = []
    for index in sorted(Counter(classes.tolist())):
        rows = random.permutation(np.flatnonzero(classes == index))
        wanted = round(len(rows) * (1 - train_size))
        held_out.extend(rows[: min(max(wanted, 1), len(rows) - 1)].tolist())
    validation = np.sort(np.array(held_out, dtype=np.int64))
    return np.setdiff1d(np.arange(len(classes)), validation), validation
