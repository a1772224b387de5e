"""Counts of class indices: classes without rows, and class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from text_classifier.contract.errors import listed


def missing_notes(which: str, missing: Mapping[str, Sequence[str]]) -> list[str]:
    """Notes on the classes that have no row, by split. `which`: "of class" or "with label"."""
    return [
        f"{name} has no row {which} {listed(names)}, so "
        + ("the model does not learn it" if name == "train" else "its metrics do not cover it")
        for name, names in missing.items()
        if names
    ]


def without_rows(classes: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The classes that have no row."""
    counts = np.bincount(classes, minlength=len(names))
    return [name for name, count in zip(names, counts.tolist(), strict=True) if not count]


def balanced_weights(classes: np.ndarray, count: int) -> np.ndarray:
    """Weights inversely proportional to class frequency, with mean 1 over these rows; float32 [classes].

    rows / (classes * rows of the class), the same as scikit-learn's `class_weight="balanced"`.
    """
    return (len(classes) / (count * np.maximum(np.bincount(classes, minlength=count), 1))).astype(np.float32)
