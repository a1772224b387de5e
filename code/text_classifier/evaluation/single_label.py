"""All that is measured on a split of single labels once training has ended: `validation` and `test` of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from text_classifier.contract.schema import Calibration, ClassMetrics, SplitMetrics, Threshold
from text_classifier.evaluation import calibration, intervals
from text_classifier.evaluation.intervals import Interval, Ranking
from text_classifier.evaluation.slices import by_length
from text_classifier.runtime.seeds import SeedStream

#: Precision, or recall, that a user may want: the rows of the threshold table.
WANTED = (0.8, 0.9, 0.95, 0.99)

SLICED = ("accuracy", "f1_macro")


def assess(
    logits: np.ndarray, classes: np.ndarray, names: Sequence[str], lengths: np.ndarray, temperature: float, seed: int
) -> SplitMetrics:
    """Metrics of a split, with intervals, for JSON.

    logits float32 [rows, classes], classes int64 [rows], lengths int64 [rows] in tokens. Of two classes the second is
    the positive one; only then are there `roc_auc`, `auprc` and `thresholds`, and the former two only when the rows
    hold both classes. The probabilities are the model's own; `temperature` was fitted on the validation rows.
    """
    random = np.random.default_rng((seed, SeedStream.SPLIT_INTERVALS))
    confusion = confusion_matrix(classes, logits.argmax(axis=1), len(names))
    losses = calibration.losses(logits, classes)
    rankings = [Ranking.of(odds, classes == index) for index, odds in enumerate(log_odds(logits).T)]
    has_positives = len(names) == 2 and len(np.unique(classes)) == 2
    counts = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    values, found = score(logits.argmax(axis=1), classes, len(names), random)
    values["log_loss"] = float(losses.mean())
    found |= intervals.of_rows(losses, rankings[1] if has_positives else None, random)
    if has_positives:
        values |= rankings[1].metrics()
    measured = {
        "rows": len(classes),
        **values,
        "intervals": {name: list(found[name]) for name in values},
        "per_class": _per_class(names, counts, rankings),
        "confusion_matrix": confusion.tolist(),
        "calibration": _calibration(logits, classes, temperature),
        "thresholds": _thresholds(rankings[1]) if has_positives else [],
        "by_length": by_length(
            lengths, lambda rows: score(logits[rows].argmax(axis=1), classes[rows], len(names), random), SLICED
        ),
    }
    return cast(SplitMetrics, measured)


def score(
    predicted: np.ndarray, classes: np.ndarray, count: int, random: np.random.Generator
) -> tuple[dict[str, float], dict[str, Interval]]:
    """The metrics of a confusion matrix and their intervals; predicted and classes int64 [rows], `count` classes."""
    confusion = confusion_matrix(classes, predicted, count)
    values = intervals.counted(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))
    return {name: float(value) for name, value in values.items()}, intervals.of_counts(confusion, random)


def confusion_matrix(classes: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """int64 [classes, classes]: a row for each true class, a column for each predicted one."""
    return np.bincount(classes * count + predicted, minlength=count * count).reshape(count, count)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Of each class against all others, float64 [rows, classes].

    They order rows as the probabilities do, but rows that the model is sure of do not all round to 1.
    """
    scores = logits.astype(np.float64)
    if scores.shape[1] == 2:
        return scores - scores[:, ::-1]
    best = np.arange(len(scores)), scores.argmax(axis=1)
    rest = scores.copy()
    rest[best] = -np.inf
    highest = scores.max(axis=1, keepdims=True)
    powers = np.exp(scores - highest)
    others = powers.sum(axis=1, keepdims=True) - powers  # 1 or more, but for the best class: that one is done apart
    second = rest.max(axis=1, keepdims=True)
    others[best] = np.exp(rest - second).sum(axis=1)
    highest = np.repeat(highest, scores.shape[1], axis=1)
    highest[best] = second[:, 0]
    return scores - highest - np.log(others)


def _per_class(
    names: Sequence[str], counts: tuple[np.ndarray, np.ndarray, np.ndarray], rankings: Sequence[Ranking]
) -> list[ClassMetrics]:
    """ROC AUC and AUPRC are those of the class against all others; NaN when it has no row, or all."""
    columns = zip(names, *counts, *intervals.per_class(*counts), rankings, strict=True)
    table = [
        {
            "class": name, "rows": int(rows), "predicted": int(predicted),
            "precision": float(precision), "recall": float(recall), "f1": float(f1), **ranking.metrics(),
        }
        for name, _, rows, predicted, precision, recall, f1, ranking in columns
    ]  # fmt: skip
    return cast(list[ClassMetrics], table)


def _calibration(logits: np.ndarray, classes: np.ndarray, temperature: float) -> Calibration:
    bins = {
        name: calibration.reliability(np.exp(calibration.log_probabilities(logits, heat)), classes)
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


def _thresholds(ranking: Ranking) -> list[Threshold]:
    """The threshold with the most recall for each wanted precision, and the other way round.

    A row counts as positive when its probability is the threshold or more. All None where no threshold does it.
    """
    from scipy.special import expit

    positives, negatives = ranking.found()
    measured = {"precision": positives / (positives + negatives), "recall": positives / positives[-1]}
    table: list[Threshold] = []
    for wanted, other in (("precision", "recall"), ("recall", "precision")):
        for at_least in WANTED:
            good = np.flatnonzero(measured[wanted] >= at_least)
            entry: dict[str, Any] = {
                "wanted": wanted,
                "at_least": at_least,
                "threshold": None,
                **dict.fromkeys(measured),
            }
            if len(good):
                best = good[measured[other][good].argmax()]
                entry |= {name: float(values[best]) for name, values in measured.items()}
                entry["threshold"] = float(expit(ranking.scores[best]))
            table.append(cast(Threshold, entry))
    return table
