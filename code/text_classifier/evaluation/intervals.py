"""Metrics as functions of counts, and their 95 % bootstrap intervals.

One formula gives a metric and its resamples: sums over the last axis, any axes before it. scikit-learn has most of
them too, but one resample at a time; the tests hold each against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from text_classifier.contract.schema import ClassMetrics

#: Resamples of a bootstrap. The interval is that of percentiles: Efron and Tibshirani, An Introduction to the
#: Bootstrap (1993), chapter 13.
RESAMPLES = 1000

#: Rows drawn in all for what needs them one by one. From 30,000 rows on there are fewer resamples, at least 200.
ROWS_DRAWN = 30_000_000

Interval = tuple[float, float]


def counted(hits: np.ndarray, rows: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics that a confusion matrix holds.

    hits, rows, predicted: of each class, how many were recognized, how many there are, how many were said to be one;
    all [..., classes]. A class without a row, or never predicted, counts 0 in macro averages; balanced accuracy is over
    the classes that have rows. Matthews correlation of several classes: Gorodkin, Comput. Biol. Chem. 28 (2004) 367.
    """
    hits, rows, predicted = (array.astype(np.float64) for array in (hits, rows, predicted))
    total = rows.sum(axis=-1)
    precision, recall, f1 = per_class(hits, rows, predicted)
    share = rows / total[..., None]
    covariance = hits.sum(axis=-1) * total - (rows * predicted).sum(axis=-1)
    spread = np.sqrt((total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (rows**2).sum(axis=-1)))
    return {
        "accuracy": hits.sum(axis=-1) / total,
        "balanced_accuracy": recall.sum(axis=-1) / (rows > 0).sum(axis=-1),
        "precision_macro": precision.mean(axis=-1),
        "recall_macro": recall.mean(axis=-1),
        "f1_macro": f1.mean(axis=-1),
        "precision_weighted": (precision * share).sum(axis=-1),
        "recall_weighted": (recall * share).sum(axis=-1),
        "f1_weighted": (f1 * share).sum(axis=-1),
        "matthews_correlation": ratio(covariance, spread),
    }


def per_class(hits: np.ndarray, rows: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class; 0 where there is nothing to divide by."""
    return ratio(hits, predicted), ratio(hits, rows), ratio(2 * hits, rows + predicted)


def class_table(
    classes: Sequence[str],
    hits: np.ndarray,
    rows: np.ndarray,
    predicted: np.ndarray,
    rankings: Sequence[Mapping[str, float]],
) -> list[ClassMetrics]:
    """A line for each class. The counts are those of `counted`, `rankings` hold each class's ROC AUC and AUPRC."""
    columns = zip(classes, rows, predicted, *per_class(hits, rows, predicted), rankings, strict=True)
    table = [
        {
            "class": name, "rows": int(support), "predicted": int(count),
            "precision": float(precision), "recall": float(recall), "f1": float(f1), **ranking,
        }
        for name, support, count, precision, recall, f1, ranking in columns
    ]  # fmt: skip
    return cast(list[ClassMetrics], table)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; 0 where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)


def of_counts(confusion: np.ndarray, random: np.random.Generator) -> dict[str, Interval]:
    """Intervals of the metrics of `counted`. confusion int64 [classes, classes]: a row for each true class.

    To draw rows with replacement is to draw the cells of the matrix from a multinomial distribution, whatever the
    number of rows. Where no row is wrong no resample is either, and the interval has no width.
    """
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    drawn = random.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES).astype(np.float64)
    one_hot = np.eye(len(confusion))
    return {
        name: of_resamples(values)
        for name, values in counted(
            drawn @ (one_hot[true] * (true == predicted)[:, None]), drawn @ one_hot[true], drawn @ one_hot[predicted]
        ).items()
    }


def of_difference(right: np.ndarray, other: np.ndarray, random: np.random.Generator) -> Interval:
    """Interval of the difference of two accuracies on the same rows; right and other: bool [rows]."""
    better, worse = int(np.sum(right & ~other)), int(np.sum(~right & other))
    counts = np.array([better, worse, len(right) - better - worse])
    drawn = random.multinomial(len(right), counts / len(right), size=RESAMPLES)
    return of_resamples((drawn[:, 0] - drawn[:, 1]) / len(right))


def of_rows(losses: np.ndarray, ranking: Ranking | None, random: np.random.Generator) -> dict[str, Interval]:
    """Intervals of log loss, and of ROC AUC and AUPRC when there is a ranking. losses float64 [rows]: of each row."""
    rows = len(losses)
    found: dict[str, list[float]] = {"log_loss": []}
    for _ in range(resamples(rows)):
        times = np.bincount(random.integers(0, rows, rows), minlength=rows)
        found["log_loss"].append(float(times @ losses) / rows)
        if ranking:
            for name, value in ranking.metrics(times).items():
                found.setdefault(name, []).append(value)
    return {name: of_resamples(np.array(values)) for name, values in found.items()}


def resamples(rows: int) -> int:
    """How often to draw when rows are drawn one by one."""
    return min(RESAMPLES, max(200, ROWS_DRAWN // rows))


def of_resamples(values: np.ndarray) -> Interval:
    """The middle 95 % of a metric's values; NaN where no resample has it.

    One that does not have it (one class alone was drawn) is left out.
    """
    if np.all(np.isnan(values)):
        return np.nan, np.nan
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Ranking:
    """Rows in falling order of a score; rows of equal score are told apart by no threshold and stand together."""

    order: np.ndarray  #: row indices, int64 [rows]
    is_positive: np.ndarray  #: in that order, bool [rows]
    starts: np.ndarray  #: where in that order each distinct score begins, int64 [scores]
    scores: np.ndarray  #: the distinct scores, falling, float64 [scores]

    @classmethod
    def of(cls, scores: np.ndarray, is_positive: np.ndarray) -> Ranking:
        """Rank rows: scores float64 [rows], is_positive bool [rows]."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        return cls(order, is_positive[order], starts, ranked[starts])

    def found(self, times: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative rows at each score or above it, each row counted `times` (int64 [rows], default 1)."""
        ranked = np.ones(len(self.order), dtype=np.int64) if times is None else times[self.order]
        positives = np.where(self.is_positive, ranked, 0)
        ends = np.append(self.starts[1:], len(self.order)) - 1
        positives, both = np.cumsum(positives)[ends], np.cumsum(ranked)[ends]
        return positives, both - positives

    def metrics(self, times: np.ndarray | None = None) -> dict[str, float]:
        """ROC AUC, and AUPRC as average precision: the mean of precision over the positive rows. NaN without either."""
        positives, negatives = self.found(times)
        if not positives[-1] or not negatives[-1]:
            return {"roc_auc": np.nan, "auprc": np.nan}
        new_positives = np.diff(positives, prepend=0)
        above = negatives - np.diff(negatives, prepend=0) / 2  # a tie counts half
        precision = ratio(positives, positives + negatives)
        return {
            "roc_auc": float(1 - new_positives @ above / (float(positives[-1]) * float(negatives[-1]))),
            "auprc": float(new_positives @ precision / positives[-1]),
        }
