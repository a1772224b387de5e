"""Class indices of the rows: which classes have none, and their weights."""

from __future__ import annotations

import numpy as np

from text_classifier.contract.errors import DataError


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
