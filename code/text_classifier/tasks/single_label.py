"""task=single_label: one class per row. Targets are class indices, int64 [rows]."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from text_classifier.contract.errors import SettingsError, printable
from text_classifier.contract.hyperparameters import Settings
from text_classifier.evaluation import calibration, intervals, temperature
from text_classifier.evaluation import single_label as assessment
from text_classifier.evaluation.intervals import MANY_CLASSES, Interval
from text_classifier.evaluation.temperature import Temperature
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import Labels
from text_classifier.tasks.base import CLASSES_SHOWN, Intervals, Task, Values
from text_classifier.tasks.classes import class_weights, missing_notes, without_rows

#: Texts that are compared with all training texts at a time.
_NEIGHBORS_AT_A_TIME = 500


class SingleLabel(Task):
    """One class per row, by softmax and cross-entropy."""

    problem_type = "single_label_classification"
    headline = "accuracy"
    sliced = ("accuracy", "f1_macro")
    constant_baseline = "most frequent class"
    tfidf_baseline = "TF-IDF and logistic regression"

    def reader(self, label_map: LabelMap | None, settings: Settings) -> Labels:
        return Labels(label_map, drops_unknown=settings.unmapped == "drop")

    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        if len(classes) != 2 and settings.metric_for_best_model in ("roc_auc", "auprc"):
            raise SettingsError(
                f"metric_for_best_model={settings.metric_for_best_model} needs exactly two classes, the data has "
                f"{len(classes)}; use f1_macro"
            )

        self.class_weights(targets, classes, settings)

    def class_weights(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> np.ndarray | None:
        return class_weights(settings.class_weights, targets, classes)

    def missing(self, targets: np.ndarray, classes: Sequence[str]) -> list[str]:
        return without_rows(targets, tuple(classes))

    def unmeasurable(self, targets: np.ndarray) -> Mapping[str, str]:
        one_class = len(np.unique(targets)) < 2
        return dict.fromkeys(("roc_auc", "auprc"), "all of them are of one class") if one_class else {}

    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        return targets

    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        return {"classes": dict(zip(classes, np.bincount(targets, minlength=len(classes)).tolist(), strict=True))}

    def table(self, splits: Mapping[str, Any]) -> list[str]:
        return counts_table(splits)

    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        return missing_notes("of class", {name: self.missing(targets, classes) for name, targets in splits.items()})

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=1)

    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        """Of two classes the second is the positive one. A class without rows or predictions counts 0 in the macro
        averages. ROC AUC and AUPRC are left out unless there are two classes and both have rows."""
        from sklearn.metrics import (
            accuracy_score,
            average_precision_score,
            precision_recall_fscore_support,
            roc_auc_score,
        )

        predicted = self.predict(logits)
        precision, recall, f1, _ = precision_recall_fscore_support(
            targets, predicted, labels=range(logits.shape[1]), average="macro", zero_division=0
        )
        values = {
            "loss": float(calibration.losses(logits, targets).mean()),
            "accuracy": float(accuracy_score(targets, predicted)),
            "precision_macro": float(precision),
            "recall_macro": float(recall),
            "f1_macro": float(f1),
        }
        if logits.shape[1] == 2 and len(np.unique(targets)) == 2:
            positive = logits[:, 1].astype(np.float64) - logits[:, 0]
            values["roc_auc"] = float(roc_auc_score(targets, positive))
            values["auprc"] = float(average_precision_score(targets, positive))
        return values

    def temperature(self, logits: np.ndarray, targets: np.ndarray, random: np.random.Generator) -> Temperature:
        return temperature.judge(logits, targets, random)

    def score(
        self, predicted: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        return assessment.score(predicted, targets, count, random)

    def difference(
        self, predicted: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        correct, other_correct = predicted == targets, other == targets
        difference = float(correct.mean() - other_correct.mean())
        return difference, intervals.of_difference(correct, other_correct, random)

    def details(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        temperature: float | None,
        random: np.random.Generator,
    ) -> tuple[Values, Intervals, dict[str, Any]]:
        assert temperature is not None
        return assessment.details(logits, targets, classes, temperature, random)

    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        return np.full(rows, np.bincount(training).argmax())

    def tfidf_name(self, targets: np.ndarray) -> str:
        return self.tfidf_baseline if len(np.unique(targets)) <= MANY_CLASSES else "TF-IDF and nearest neighbor"

    def fit(self, features: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(targets)) < 2:
            return None
        if len(np.unique(targets)) > MANY_CLASSES:  # a regression takes minutes, and memory for classes times terms
            return nearest_neighbor(features, targets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # more than 50 steps change next to nothing
            predict: Callable[[Any], np.ndarray] = LogisticRegression(C=10, max_iter=50).fit(features, targets).predict
        return predict


def nearest_neighbor(features: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Predicts the target of the training text with the highest cosine similarity."""

    def predict(others: Any) -> np.ndarray:
        chunks = (
            others[start : start + _NEIGHBORS_AT_A_TIME] for start in range(0, others.shape[0], _NEIGHBORS_AT_A_TIME)
        )
        return np.concatenate([targets[np.asarray((chunk @ features.T).argmax(axis=1)).ravel()] for chunk in chunks])

    return predict  # TF-IDF rows have length 1, so a product is a cosine


def counts_table(splits: Mapping[str, Any]) -> list[str]:
    """Lines for the log: the rows of each class in each split."""
    lines = ["class counts:"]
    names = list(splits["train"]["classes"])
    for name in names[:CLASSES_SHOWN]:
        counts = (f"{split} {_share(of['classes'][name], of['rows'])}" for split, of in splits.items())
        lines.append(f"  {printable(name)}: {', '.join(counts)}")
    if len(names) > CLASSES_SHOWN:
        lines.append(f"  and {len(names) - CLASSES_SHOWN} more classes")
    return lines


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({count / rows:.1%})"
