"""Counts of class indices: classes without rows, and class weights."""

from __future__ import annotations

import numpy as np

from text_classifier.contract.errors import DataError


def require_all_classes(classes: np.ndarray, names: tuple[str, ...]) -> None:
    """Raises DataError if a class has no training row, as it could never be predicted."""
    missing = without_rows(classes, names)
    if missing:
        raise DataError(f"no training row has the class {missing[0]!r}; add rows of it or remove it from label_map")


def without_rows(classes: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The classes that have no row."""
    counts = np.bincount(classes, minlength=len(names))
    return [name for name, count in zip(names, counts.tolist(), strict=True) if not count]


def balanced_weights(classes: np.ndarray, count: int) -> np.ndarray:
    """Weights inversely proportional to class frequency, with mean 1 over these rows; float32 [classes].

    rows / (classes * rows of the class), the same as scikit-learn's `class_weight="balanced"`.
    """
    return (len(classes) / (count * np.bincount(classes, minlength=count))).astype(np.float32)
