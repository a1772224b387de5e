"""Counts of class indices: classes without rows, and the weights of classes and labels in the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from text_classifier.contract.class_weights import given_weights
from text_classifier.contract.errors import SettingsError, listed, quoted, similar
from text_classifier.reading.label_map import normalize

#: How much a further row of a class adds, for `class_weights=effective`: from about 1 / (1 - BETA) rows on, next to
#: nothing.
BETA = 0.999

#: Bounds of the weights that are computed for the positive rows of a label.
LIGHTEST, HEAVIEST = 0.01, 100.0


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


def class_weights(setting: str, targets: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """The weight of each class, float32 [classes]; None without weights. `targets` are class indices, int64 [rows].

    Computed weights have a mean of 1 over these rows; given ones are used as they are. Raises SettingsError for the
    weight of an unknown class.
    """
    if setting == "balanced":
        return balanced_weights(targets, len(names))
    if setting == "effective":
        return effective_weights(targets, len(names))
    return _given(setting, names)


def positive_weights(setting: str, targets: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """The weight of each label's positive rows, float32 [labels]; None without weights. targets uint8 [rows, labels].

    As torch's `pos_weight`; a negative row has the weight 1. `balanced`: both sides of a label weigh alike, within
    LIGHTEST and HEAVIEST. Raises SettingsError for the weight of an unknown label.
    """
    positives = targets.sum(axis=0, dtype=np.int64)
    negatives = len(targets) - positives
    if setting == "effective":
        positives, negatives = effective_number(positives), effective_number(negatives)
    elif setting != "balanced":
        return _given(setting, names)
    has_both = (positives > 0) & (negatives > 0)
    ratios = np.where(has_both, negatives / np.maximum(positives, 1), 1.0)
    return ratios.clip(LIGHTEST, HEAVIEST).astype(np.float32)


def balanced_weights(classes: np.ndarray, count: int) -> np.ndarray:
    """Weights inversely proportional to class frequency, with mean 1 over these rows; float32 [classes].

    rows / (classes * rows of the class), the same as scikit-learn's `class_weight="balanced"`.
    """
    return (len(classes) / (count * np.maximum(np.bincount(classes, minlength=count), 1))).astype(np.float32)


def effective_weights(classes: np.ndarray, count: int) -> np.ndarray:
    """Weights inversely proportional to the effective number of rows, with mean 1 over these rows; float32 [classes].

    Source: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, https://arxiv.org/abs/1901.05555
    """
    rows = np.bincount(classes, minlength=count)
    weights = 1 / effective_number(np.maximum(rows, 1))
    return (weights * len(classes) / (weights * rows).sum()).astype(np.float32)


def effective_number(rows: np.ndarray) -> np.ndarray:
    """(1 - BETA^rows) / (1 - BETA): the sum of what each row adds, float64."""
    number: np.ndarray = (1 - BETA ** rows.astype(np.float64)) / (1 - BETA)
    return number


def _given(setting: str, names: Sequence[str]) -> np.ndarray | None:
    """The weights in the setting, and 1 for classes that it does not name; None if it names none."""
    given = given_weights(setting)
    if not given:
        return None
    weights = np.ones(len(names), dtype=np.float32)
    for name, weight in given.items():
        label = name if name in names else normalize(name)
        if label not in names:
            close = similar(label, names)
            hint = f"did you mean {quoted(close)}?" if close else f"the classes are {listed(names, most=20)}"
            raise SettingsError(
                f"class_weights has a weight for {quoted(name)}, which is not a class of the data; {hint}"
            )
        weights[names.index(label)] = weight
    return weights
