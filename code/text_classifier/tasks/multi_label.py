"""task=multi_label: any number of labels per row. Targets are 1 for each label that a row has, else 0, uint8
[rows, labels].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError, listed
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import SplitMetrics
from text_classifier.evaluation import intervals, operating_points
from text_classifier.evaluation import multi_label as measures
from text_classifier.evaluation.intervals import MANY_CLASSES, Interval, Ranking
from text_classifier.reading.columns import names_of
from text_classifier.reading.label_map import LabelMap, normalize
from text_classifier.reading.label_sets import LabelColumns, LabelSets
from text_classifier.reading.labels import LabelReader
from text_classifier.tasks.base import Intervals, Task, Values
from text_classifier.tasks.classes import missing_notes, positive_weights, without_rows
from text_classifier.tasks.single_label import counts_table

#: Labels that the TF-IDF baseline learns, the most frequent ones; it never predicts the others.
MOST_BASELINE_LABELS = 50


class MultiLabel(Task):
    """Any number of labels per row, by sigmoid and binary cross-entropy; a row's loss is the mean over its labels."""

    problem_type = "multi_label_classification"
    headline = "f1_micro"
    sliced = ("f1_micro", "exact_match")
    constant_baseline = "most frequent set of labels"
    tfidf_baseline = "TF-IDF and a logistic regression for each label"

    def __init__(self, separator: str, thresholds: Sequence[float] | None = None) -> None:
        """`thresholds`: of the probability of each label; None: one half."""
        self.separator = separator
        self._thresholds = thresholds

    def reader(self, label_map: LabelMap | None, settings: Settings) -> LabelReader:
        if columns := names_of(settings.label_columns, "label_columns"):
            return LabelColumns(columns, label_map)
        names = names_of(settings.label_names, "label_names")
        if names and label_map is None:  # the model's outputs in the order of the positions
            label_map = LabelMap(names, {normalize(name): index for index, name in enumerate(names)})
        return LabelSets(label_map, self.separator, names, drops_unknown=settings.unmapped == "drop")

    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        if np.all(targets == targets[0]):
            labels = listed([name for name, has in zip(classes, targets[0], strict=True) if has]) or "none"
            raise DataError(f"all training rows have the same labels ({labels}); there is nothing to learn from them")

        self.class_weights(targets, classes, settings)

    def class_weights(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> np.ndarray | None:
        """Of the rows that have a label: torch's pos_weight."""
        return positive_weights(settings.class_weights, targets, classes)

    def missing(self, targets: np.ndarray, classes: Sequence[str]) -> list[str]:
        return without_rows(np.nonzero(targets)[1], tuple(classes))

    def unmeasurable(self, targets: np.ndarray) -> Mapping[str, str]:
        varies = np.any(targets != targets[0])
        return {} if varies else dict.fromkeys(("roc_auc_macro", "auprc_macro"), "all of them have the same labels")

    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        """By the rarest label of each row, which has the fewest rows to split; 0 for rows without labels."""
        order = np.argsort(targets.sum(axis=0, dtype=np.int64), kind="stable")  # the first of equals, as ever
        rarest = order[targets[:, order].argmax(axis=1)]
        return np.where(targets.any(axis=1), rarest + 1, 0)

    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        counts = targets.sum(axis=0, dtype=np.int64).tolist()
        return {
            "classes": dict(zip(classes, counts, strict=True)),
            "without_label": int((~targets.any(axis=1)).sum()),
            "labels_of_a_row": round(sum(counts) / len(targets), 2),
        }

    def table(self, splits: Mapping[str, Any]) -> list[str]:
        rows = (
            f"{name} {of['labels_of_a_row']:g} ({of['without_label']:,} rows have none)" for name, of in splits.items()
        )
        return [*counts_table(splits), f"labels per row, mean: {', '.join(rows)}"]

    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        return missing_notes("with label", {name: self.missing(targets, classes) for name, targets in splits.items()})

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """The labels with a probability above their threshold."""
        if self._thresholds is None:
            return (logits > 0).astype(np.uint8)
        return measures.above(logits, self._thresholds)

    def fit_thresholds(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return measures.fit_thresholds(logits, targets)

    def with_thresholds(self, thresholds: Sequence[float]) -> MultiLabel:
        return MultiLabel(self.separator, thresholds)

    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        """Micro: over all labels of all rows together; macro: mean over the labels, in which a label without rows or
        predictions counts 0. `roc_auc_macro` and `auprc_macro` are means over the labels that some rows have and some
        do not; they are left out if there is no such label."""
        return {
            "loss": float(measures.losses(logits, targets).mean()),
            **measures.metrics(self.predict(logits), targets),
            **measures.ranking_means(measures.rankings(logits, targets)),
        }

    def score(
        self, predicted: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        from scipy.sparse import csr_array, hstack

        values = measures.metrics(predicted, targets)
        # Rows have few labels, so sums over resampled rows are products with sparse matrices.
        is_exact = csr_array((predicted == targets).all(axis=1)[:, None])
        of_row = hstack([is_exact, *(csr_array(part) for part in (predicted & targets, targets, predicted))]).T.astype(
            np.float64
        )
        rows = len(targets)
        drawn = np.array(
            [
                of_row @ np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)
                for _ in range(intervals.resamples(rows))
            ]
        )
        resampled = {"exact_match": drawn[:, 0] / rows, **measures.from_counts(*np.split(drawn[:, 1:], 3, axis=1))}
        return values, {name: intervals.of_resamples(resampled[name]) for name in values}

    def difference(
        self, predicted: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        parts = (predicted & targets, other & targets, predicted, other, targets)
        of_row = np.stack([part.sum(axis=1, dtype=np.float64) for part in parts])
        rows = len(targets)
        draws = (np.bincount(random.integers(0, rows, rows), minlength=rows) for _ in range(intervals.resamples(rows)))
        sums = np.array([of_row.sum(axis=1), *(of_row @ times for times in draws)]).T
        gaps = intervals.ratio(2 * sums[0], sums[2] + sums[4]) - intervals.ratio(2 * sums[1], sums[3] + sums[4])
        return float(gaps[0]), intervals.of_resamples(gaps[1:])

    def details(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        temperature: float | None,
        random: np.random.Generator,
    ) -> tuple[Values, Intervals, dict[str, Any]]:
        """ROC AUC and AUPRC have no interval: each resample would sort all rows again for each label."""
        losses, rankings = measures.losses(logits, targets), measures.rankings(logits, targets)
        values = {"log_loss": float(losses.mean()), **measures.ranking_means(rankings)}
        table = intervals.class_table(classes, *measures.counts(self.predict(logits), targets), rankings)
        tables: dict[str, Any] = {"per_class": table}
        if len(classes) <= MANY_CLASSES:
            ranked = [Ranking.of(scores, has == 1) for scores, has in zip(logits.T, targets.T, strict=True)]
            tables["class_thresholds"] = operating_points.of_classes(classes, ranked)
        return values, intervals.of_rows(losses, None, random), tables

    def cautions(self, measured: SplitMetrics) -> list[str]:
        """Labels that are never predicted."""
        table = measured["per_class"]
        never = [row["class"] for row in table if row["rows"] and not row["predicted"]]
        if not never:
            return []
        which = f"{listed(never)} for no row, though some have {'it' if len(never) == 1 else 'them'}"
        if not any(row["predicted"] for row in table):
            which = f"no label for any of the {measured['rows']:,} rows"
        return [f"the model predicts {which}; train longer, or set class_weights=balanced or thresholds=fitted"]

    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        sets, counts = np.unique(training, axis=0, return_counts=True)
        return np.repeat(sets[[counts.argmax()]], rows, axis=0)

    def fit(self, features: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        rows = targets.sum(axis=0, dtype=np.int64)
        varying = np.flatnonzero((rows > 0) & (rows < len(targets)))
        columns = varying[np.argsort(-rows[varying], kind="stable")][:MOST_BASELINE_LABELS]
        if not len(columns):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # as in single_label.py
            learner = OneVsRestClassifier(LogisticRegression(C=10, max_iter=50))
            fitted = learner.fit(features, targets[:, columns])

        def predict(others: Any) -> np.ndarray:
            predicted = np.tile((rows == len(targets)).astype(np.uint8), (others.shape[0], 1))
            predicted[:, columns] = fitted.predict(others).reshape(-1, len(columns))  # [rows] if there is one column
            return predicted

        return predict


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid of the logits, float64 [rows, labels]."""
    from scipy.special import expit

    probabilities: np.ndarray = expit(logits.astype(np.float64))
    return probabilities
