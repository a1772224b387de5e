"""Metrics of rows with any number of labels, as functions of counts where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from text_classifier.contract.schema import ClassMetrics
from text_classifier.evaluation import intervals
from text_classifier.evaluation.intervals import Ranking


def losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of each row, the mean over its labels, float64 [rows]."""
    scores = logits.astype(np.float64)
    return (np.logaddexp(0, scores) - scores * targets).mean(axis=1)


def exact(predicted: np.ndarray, targets: np.ndarray) -> float:
    """The share of the rows all of whose labels are right."""
    return float((predicted == targets).all(axis=1).mean())


def counts(predicted: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each label the rows where it was found, that have it, and that were said to have it."""
    hits, rows, predicted = (part.sum(axis=0, dtype=np.int64) for part in (predicted & targets, targets, predicted))
    return hits, rows, predicted


def counted(hits: np.ndarray, rows: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Micro and macro averages; the arguments are [..., labels]."""
    micro = intervals.per_class(*(part.sum(axis=-1) for part in (hits, rows, predicted)))
    macro = (values.mean(axis=-1) for values in intervals.per_class(hits, rows, predicted))
    names = "precision", "recall", "f1"
    return {
        **{f"{name}_micro": value for name, value in zip(names, micro, strict=True)},
        **{f"{name}_macro": value for name, value in zip(names, macro, strict=True)},
    }


def rankings(logits: np.ndarray, targets: np.ndarray) -> list[dict[str, float]]:
    """ROC AUC and AUPRC of each label; NaN when no row has it, or all."""
    return [Ranking.of(scores, has == 1).metrics() for scores, has in zip(logits.T, targets.T, strict=True)]


def ranking_means(rankings: Sequence[dict[str, float]]) -> dict[str, float]:
    """Their means, over the labels that have them; empty where none has."""
    known = [of_label for of_label in rankings if not np.isnan(of_label["roc_auc"])]
    return {f"{name}_macro": float(np.mean([one[name] for one in known])) for name in (known[0] if known else ())}


def per_class(
    classes: Sequence[str], predicted: np.ndarray, targets: np.ndarray, rankings: Sequence[dict[str, float]]
) -> list[ClassMetrics]:
    """A line for each label, for JSON, with the keys that single labels have there."""
    of_label = counts(predicted, targets)
    columns = zip(classes, *of_label[1:], *intervals.per_class(*of_label), rankings, strict=True)
    table = [
        {
            "class": name, "rows": int(rows), "predicted": int(predicted),
            "precision": float(precision), "recall": float(recall), "f1": float(f1), **ranking,
        }
        for name, rows, predicted, precision, recall, f1, ranking in columns
    ]  # fmt: skip
    return cast(list[ClassMetrics], table)
