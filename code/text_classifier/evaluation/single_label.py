"""Metrics of single-label classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from text_classifier.contract.schema import Calibration
from text_classifier.evaluation import calibration, intervals, operating_points
from text_classifier.evaluation.intervals import MANY_CLASSES, Confusion, Interval, Ranking

#: Kinds of mistakes in metrics.json where the confusion matrix would be large.
MOST_CELLS = 1_000


def details(
    logits: np.ndarray, classes: np.ndarray, names: Sequence[str], temperature: float, random: np.random.Generator
) -> tuple[dict[str, float], dict[str, Interval], dict[str, Any]]:
    """Metrics of the probabilities, their intervals, and the tables of SplitMetrics.

    logits float32 [rows, classes], classes int64 [rows]. Of two classes the second is the positive one. `roc_auc`,
    `auprc` and thresholds exist only for two classes that both have rows. With more than MANY_CLASSES classes the
    confusion matrix is replaced by its largest wrong cells, and the classes have no `roc_auc` and `auprc`.
    """
    confusion = Confusion.of(classes, logits.argmax(axis=1), len(names))
    losses = calibration.losses(logits, classes)
    positive = None
    if confusion.classes <= MANY_CLASSES:
        rankings = [Ranking.of(odds, classes == index) for index, odds in enumerate(log_odds(logits).T)]
        metrics = [ranking.metrics() for ranking in rankings]
        positive = rankings[1] if len(names) == 2 and len(np.unique(classes)) == 2 else None
        table: dict[str, Any] = {"confusion_matrix": confusion.matrix().tolist()}
    else:
        metrics = [{"roc_auc": np.nan, "auprc": np.nan}] * confusion.classes
        worst = confusion.mistakes(MOST_CELLS)
        cells = zip(worst.true.tolist(), worst.predicted.tolist(), worst.rows.tolist(), strict=True)
        table = {"mistakes": [{"class": names[t], "predicted": names[p], "rows": rows} for t, p, rows in cells]}
    if 2 < confusion.classes <= MANY_CLASSES:
        table["class_thresholds"] = operating_points.of_classes(names, rankings)
    tables = {
        "per_class": intervals.class_table(names, *confusion.counts(), metrics),
        **table,
        "calibration": _calibration(logits, classes, temperature),
        "thresholds": operating_points.table(positive) if positive else [],
    }
    values = {"log_loss": float(losses.mean()), **(metrics[1] if positive else {})}
    return values, intervals.of_rows(losses, positive, random), tables


def score(
    predicted: np.ndarray, classes: np.ndarray, count: int, random: np.random.Generator
) -> tuple[dict[str, float], dict[str, Interval]]:
    """The metrics of a confusion matrix and their intervals; predicted and classes int64 [rows], `count` classes."""
    confusion = Confusion.of(classes, predicted, count)
    values = intervals.from_counts(*confusion.counts())
    return {name: float(value) for name, value in values.items()}, intervals.of_counts(confusion, random)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Log odds of each class against all others, float64 [rows, classes].

    They order rows as the probabilities do, without rounding those of very confident rows to 1.
    """
    scores = logits.astype(np.float64)
    if scores.shape[1] == 2:
        return scores - scores[:, ::-1]
    best = np.arange(len(scores)), scores.argmax(axis=1)
    rest = scores.copy()
    rest[best] = -np.inf
    highest = scores.max(axis=1, keepdims=True)
    powers = np.exp(scores - highest)
    others = powers.sum(axis=1, keepdims=True) - powers  # at least 1, except for the best class, which follows
    second = rest.max(axis=1, keepdims=True)
    others[best] = np.exp(rest - second).sum(axis=1)
    highest = np.repeat(highest, scores.shape[1], axis=1)
    highest[best] = second[:, 0]
    return scores - highest - np.log(others)


def _calibration(logits: np.ndarray, classes: np.ndarray, temperature: float) -> Calibration:
    is_correct = logits.argmax(axis=1) == classes
    bins = {
        name: calibration.reliability(calibration.confidences(logits, heat), is_correct)
        for name, heat in (("before", 1.0), ("after", temperature))
    }
    return {
        "temperature": temperature,
        "error": calibration.calibration_error(bins["before"]),
        "error_at_temperature": calibration.calibration_error(bins["after"]),
        "log_loss_at_temperature": float(calibration.losses(logits, classes, temperature).mean()),
        "reliability": bins["before"],
        "reliability_at_temperature": bins["after"],
    }
