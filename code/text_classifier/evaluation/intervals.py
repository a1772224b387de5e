"""Metrics as functions of counts, and their 95 % bootstrap intervals.

One formula computes a metric and all of its resamples: it reduces the last axis and keeps any axes before it.
scikit-learn computes one resample at a time; the tests compare each metric with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from text_classifier.contract.schema import ClassMetrics

#: With more classes, results are bounded: the largest cells of the confusion matrix, the most probable classes.
MANY_CLASSES = 200

#: Counts of resamples that are held at a time.
_AT_A_TIME = 1 << 22

#: Resamples of a percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
RESAMPLES = 1000

#: Rows drawn in total where resampling draws single rows. Above 30,000 rows there are fewer resamples, at least 200.
ROWS_DRAWN = 30_000_000

Interval = tuple[float, float]


def from_counts(true_positives: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics that follow from a confusion matrix.

    The arguments count the rows of each class: predicted and right, of the class, predicted; all [..., classes]. A
    class without rows or predictions counts 0 in macro averages; balanced accuracy is over the classes that have rows.
    Matthews correlation of several classes: Gorodkin, Comput. Biol. Chem. 28 (2004) 367.
    """
    true_positives, support, predicted = (counts.astype(np.float64) for counts in (true_positives, support, predicted))
    total = support.sum(axis=-1)
    precision, recall, f1 = per_class(true_positives, support, predicted)
    share = support / total[..., None]
    covariance = true_positives.sum(axis=-1) * total - (support * predicted).sum(axis=-1)
    spread = np.sqrt((total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (support**2).sum(axis=-1)))
    return {
        "accuracy": true_positives.sum(axis=-1) / total,
        "balanced_accuracy": recall.sum(axis=-1) / (support > 0).sum(axis=-1),
        "precision_macro": precision.mean(axis=-1),
        "recall_macro": recall.mean(axis=-1),
        "f1_macro": f1.mean(axis=-1),
        "precision_weighted": (precision * share).sum(axis=-1),
        "recall_weighted": (recall * share).sum(axis=-1),
        "f1_weighted": (f1 * share).sum(axis=-1),
        "matthews_correlation": ratio(covariance, spread),
    }


def per_class(
    true_positives: np.ndarray, support: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class; 0 where the denominator is 0."""
    f1 = ratio(2 * true_positives, support + predicted)
    return ratio(true_positives, predicted), ratio(true_positives, support), f1


def class_table(
    classes: Sequence[str],
    true_positives: np.ndarray,
    support: np.ndarray,
    predicted: np.ndarray,
    rankings: Sequence[Mapping[str, float]],
) -> list[ClassMetrics]:
    """One entry per class. The counts are those of `from_counts`; `rankings` hold ROC AUC and AUPRC per class."""
    scores = per_class(true_positives, support, predicted)
    columns = zip(classes, support, predicted, *scores, rankings, strict=True)
    table = [
        {
            "class": name, "rows": int(rows), "predicted": int(count),
            "precision": float(precision), "recall": float(recall), "f1": float(f1), **ranking,
        }
        for name, rows, count, precision, recall, f1, ranking in columns
    ]  # fmt: skip
    return cast(list[ClassMetrics], table)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)


@dataclass(frozen=True)
class Confusion:
    """The non-zero cells of a confusion matrix, sorted by true and predicted class; all int64 [cells]."""

    true: np.ndarray
    predicted: np.ndarray
    rows: np.ndarray
    classes: int  #: number of classes

    @classmethod
    def of(cls, true: np.ndarray, predicted: np.ndarray, classes: int) -> Confusion:
        """Count class indices, int64 [rows] each."""
        cells, rows = np.unique(true * classes + predicted, return_counts=True)
        return cls(*np.divmod(cells, classes), rows, classes)

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True positives, support and predictions of each class, int64 [classes]."""
        right = self.rows * (self.true == self.predicted)
        weighed = ((self.true, right), (self.true, self.rows), (self.predicted, self.rows))
        true_positives, support, predicted = (
            np.bincount(of, weights=rows, minlength=self.classes).astype(np.int64) for of, rows in weighed
        )
        return true_positives, support, predicted

    def matrix(self) -> np.ndarray:
        """int64 [classes, classes]: true class by predicted class."""
        matrix = np.zeros((self.classes, self.classes), dtype=np.int64)
        matrix[self.true, self.predicted] = self.rows
        return matrix

    def mistakes(self, most: int) -> Confusion:
        """The cells of wrong predictions with the most rows, at most `most`, the largest first."""
        wrong = np.flatnonzero(self.true != self.predicted)
        wrong = wrong[np.argsort(-self.rows[wrong], kind="stable")][:most]
        return Confusion(self.true[wrong], self.predicted[wrong], self.rows[wrong], self.classes)


def of_counts(confusion: Confusion, random: np.random.Generator) -> dict[str, Interval]:
    """Intervals of the metrics of `from_counts`.

    Drawing rows with replacement is the same as drawing the matrix's cells from a multinomial distribution, and its
    cost does not depend on the number of rows. If no prediction is wrong, none is in a resample, and the interval has
    no width.
    """
    from scipy.sparse import csr_array

    cells, total = np.arange(len(confusion.rows)), confusion.rows.sum()
    shape = (len(cells), confusion.classes)
    right = (confusion.true == confusion.predicted).astype(np.float64)
    ones = np.ones(len(cells))
    to_classes = [
        csr_array((weights, (cells, of)), shape=shape)
        for of, weights in ((confusion.true, right), (confusion.true, ones), (confusion.predicted, ones))
    ]
    resampled: dict[str, list[np.ndarray]] = {}
    step = max(1, _AT_A_TIME // max(shape))
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = random.multinomial(total, confusion.rows / total, size=size).astype(np.float64)
        for name, values in from_counts(*(drawn @ each for each in to_classes)).items():
            resampled.setdefault(name, []).append(values)
    return {name: of_resamples(np.concatenate(values)) for name, values in resampled.items()}


def of_difference(is_correct: np.ndarray, other: np.ndarray, random: np.random.Generator) -> Interval:
    """Interval of the difference of two accuracies on the same rows; is_correct and other: bool [rows]."""
    better, worse = int(np.sum(is_correct & ~other)), int(np.sum(~is_correct & other))
    counts = np.array([better, worse, len(is_correct) - better - worse])
    drawn = random.multinomial(len(is_correct), counts / len(is_correct), size=RESAMPLES)
    return of_resamples((drawn[:, 0] - drawn[:, 1]) / len(is_correct))


def of_rows(losses: np.ndarray, ranking: Ranking | None, random: np.random.Generator) -> dict[str, Interval]:
    """Intervals of log loss and, given a ranking, of ROC AUC and AUPRC. losses float64 [rows]."""
    rows = len(losses)
    drawn: dict[str, list[float]] = {"log_loss": []}
    for times in resampled_rows(rows, random):
        drawn["log_loss"].append(float(times @ losses) / rows)
        if ranking:
            for name, value in ranking.metrics(times).items():
                drawn.setdefault(name, []).append(value)
    return {name: of_resamples(np.array(values)) for name, values in drawn.items()}


def resampled_rows(rows: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each resample draws each row, int64 [rows]."""
    for _ in range(resamples(rows)):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows)


def resamples(rows: int) -> int:
    """Number of resamples where resampling draws single rows."""
    return min(RESAMPLES, max(200, ROWS_DRAWN // rows))


def of_resamples(values: np.ndarray) -> Interval:
    """The central 95 % of a metric's values. NaNs (of resamples with only one class) are left out, unless all are."""
    if np.all(np.isnan(values)):
        return np.nan, np.nan
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Ranking:
    """Rows by descending score. Rows of equal score form one group, which no threshold can split."""

    order: np.ndarray  #: row indices, int64 [rows]
    is_positive: np.ndarray  #: in that order, bool [rows]
    starts: np.ndarray  #: position in that order at which each distinct score begins, int64 [scores]
    scores: np.ndarray  #: the distinct scores, descending, float64 [scores]

    @classmethod
    def of(cls, scores: np.ndarray, is_positive: np.ndarray) -> Ranking:
        """Rank rows: scores float64 [rows], is_positive bool [rows]."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        return cls(order, is_positive[order], starts, ranked[starts])

    def cumulative_counts(self, times: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative rows at or above each score, each row counted `times` (int64 [rows], default 1)."""
        ranked = np.ones(len(self.order), dtype=np.int64) if times is None else times[self.order]
        positives = np.where(self.is_positive, ranked, 0)
        ends = np.append(self.starts[1:], len(self.order)) - 1
        positives, total = np.cumsum(positives)[ends], np.cumsum(ranked)[ends]
        return positives, total - positives

    def metrics(self, times: np.ndarray | None = None) -> dict[str, float]:
        """ROC AUC, and AUPRC as average precision. NaN unless there are positive and negative rows."""
        positives, negatives = self.cumulative_counts(times)
        if not positives[-1] or not negatives[-1]:
            return {"roc_auc": np.nan, "auprc": np.nan}
        new_positives = np.diff(positives, prepend=0)
        above = negatives - np.diff(negatives, prepend=0) / 2  # a tie counts half
        precision = ratio(positives, positives + negatives)
        return {
            "roc_auc": float(1 - new_positives @ above / (float(positives[-1]) * float(negatives[-1]))),
            "auprc": float(new_positives @ precision / positives[-1]),
        }
