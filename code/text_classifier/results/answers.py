"""How each task shows its predictions: headings, CSV columns, examples and plots."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from text_classifier.contract.errors import listed
from text_classifier.contract.schema import Metrics
from text_classifier.contract.tables import csv_header
from text_classifier.evaluation import calibration
from text_classifier.evaluation import multi_label as measures
from text_classifier.evaluation.intervals import MANY_CLASSES, Ranking
from text_classifier.evaluation.single_label import log_odds
from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import MultiLabel, probabilities
from text_classifier.tasks.regression import Regression, exact
from text_classifier.tasks.single_label import SingleLabel

#: Classes named in a title.
TITLED = 6

#: Most probable classes in predictions where there are too many for a column each.
RANKS = 5

#: Errors of a regression from which a label is doubted, in root mean squared errors of the split.
FAR_OFF = 2.0

AnyTask = TypeVar("AnyTask", bound=Task)


@dataclass(frozen=True)
class Examples:
    """Validation rows worth a look: their indices, the most interesting first, and a cell of each row of the split."""

    explanation: str
    rows: np.ndarray
    column: str
    cells: list[str]


class Answers(ABC, Generic[AnyTask]):
    """How one task shows its predictions. `logits` are float32 [rows, outputs], `targets` those of the task."""

    kind: str  #: what the model is
    doubt_columns: tuple[str, ...]  #: what label_issues.csv says of a doubted label

    def __init__(self, task: AnyTask) -> None:
        self.task = task

    def title(self, classes: Sequence[str]) -> str:
        """The heading of the report: what the model is, and its classes."""
        return f"{self.kind}: {listed(classes, TITLED)}"

    @abstractmethod
    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        """The columns of a CSV file of predictions."""

    @abstractmethod
    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterable[list[str]]:
        """The predicted label of each row, and the probabilities where there are any."""

    @abstractmethod
    def label(self, target: Any, classes: Sequence[str]) -> str:
        """A target as text."""

    @abstractmethod
    def doubts(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """How suspicious the label of each row is, float64 [rows]; NaN where the model agrees with it."""

    @abstractmethod
    def doubt_cells(self, doubt: float, logits: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        """The cells of `doubt_columns` of a row; logits and target are those of this row alone."""

    def least_certain(self, logits: np.ndarray, classes: Sequence[str]) -> Examples | None:
        """The rows whose prediction is least certain; None if the task knows no certainty."""
        return None

    @abstractmethod
    def plots(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str], metrics: Metrics
    ) -> dict[str, str]:
        """The report's plots of the validation rows, by name."""


def answers(task: Task) -> Answers[Any]:
    """How this task shows its predictions."""
    return _BY_TASK[type(task)](task)


def _header(classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
    """The columns of predictions with a probability for each class, or for the most probable ones of many."""
    if len(classes) > MANY_CLASSES:
        return csv_header((), has_ids=has_ids, has_labels=has_labels, ranks=RANKS)
    return csv_header(classes, has_ids=has_ids, has_labels=has_labels)


def _probabilities(values: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The cells of these columns, from the probabilities of a row, float64 [classes]."""
    if len(classes) <= MANY_CLASSES:
        return [format(value, ".6g") for value in values]
    best = np.argsort(-values, kind="stable")[:RANKS]
    return [*(classes[index] for index in best), *(format(values[index], ".6g") for index in best)]


def _worst(metrics: Metrics) -> tuple[list[int], str]:
    """The classes with the lowest AUPRC, as many as a plot has room for, and the title of their curves."""
    from text_classifier.results import plots

    scores = np.array([row["auprc"] for row in metrics["validation"]["per_class"]])
    known = [int(index) for index in np.argsort(scores, kind="stable") if not np.isnan(scores[index])]
    shown = known[: plots.MOST_CURVES]
    title = "Precision-recall curves"
    if len(shown) < len(known):
        title += f" of the worst {len(shown)} of {len(known)}\n(lowest AUPRC)"
    return shown, title


class _SingleLabelAnswers(Answers[SingleLabel]):
    kind = "Text classifier"
    doubt_columns = ("probability_of_label",)

    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        return _header(classes, has_ids=has_ids, has_labels=has_labels)

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterator[list[str]]:
        for row, predicted in enumerate(self.task.predict(logits)):
            values = np.exp(calibration.log_probabilities(logits[row : row + 1], temperature))[0]
            yield [classes[predicted], *_probabilities(values, classes)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return classes[target]

    def doubts(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The loss of the rows with another prediction."""
        return np.where(self.task.predict(logits) != targets, calibration.losses(logits, targets), np.nan)

    def doubt_cells(self, doubt: float, logits: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        return [format(np.exp(-doubt), ".6g")]

    def least_certain(self, logits: np.ndarray, classes: Sequence[str]) -> Examples | None:
        second, best = np.partition(logits, -2, axis=1)[:, -2:].T
        return Examples(
            "Validation texts with the smallest margin between the two most probable classes.",
            np.argsort(best - second, kind="stable"),
            "Probability",
            [f"{100 * value:.1f} %" for value in calibration.confidences(logits)],
        )

    def plots(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str], metrics: Metrics
    ) -> dict[str, str]:
        from text_classifier.results import plots

        names = {"accuracy": "accuracy", "f1_macro": "F1 (macro)"}
        drawn = {
            "quality": plots.curves(metrics, names, "Validation"),
            "reliability": plots.reliability(metrics["validation"]["calibration"]),
        }
        if len(classes) > MANY_CLASSES:
            return drawn
        drawn["confusion"] = plots.confusion(np.array(metrics["validation"]["confusion_matrix"]), classes)
        odds = log_odds(logits)
        shown, title = [1], f"Precision-recall curve of {classes[1][:30]}"
        if len(classes) > 2:
            shown, title = _worst(metrics)
        rankings = {classes[i]: Ranking.of(odds[:, i], targets == i) for i in shown if np.any(targets == i)}
        return drawn | ({"precision_recall": plots.precision_recall(rankings, title)} if rankings else {})


class _MultiLabelAnswers(Answers[MultiLabel]):
    kind = "Multi-label text classifier"
    doubt_columns = ("doubted_label", "probability_of_label")

    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        return _header(classes, has_ids=has_ids, has_labels=has_labels)

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterator[list[str]]:
        for row, predicted in enumerate(self.task.predict(logits)):
            yield [self.label(predicted, classes), *_probabilities(probabilities(logits[row : row + 1])[0], classes)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        """The labels with separators; a JSON list if a class has a separator in its name."""
        labels = [classes[index] for index in np.flatnonzero(target).tolist()]
        if any(self.task.separator in name for name in classes):
            return json.dumps(labels, ensure_ascii=False)
        return self.task.separator.join(labels)

    def doubts(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The loss of the label that is furthest off, of the rows with another prediction."""
        doubts = measures.losses_of_labels(logits, targets).max(axis=1)
        return np.where((self.task.predict(logits) != targets).any(axis=1), doubts, np.nan)

    def doubt_cells(self, doubt: float, logits: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        return [classes[int(measures.losses_of_labels(logits, target).argmax())], format(np.exp(-doubt), ".6g")]

    def least_certain(self, logits: np.ndarray, classes: Sequence[str]) -> Examples | None:
        closest = np.abs(logits).argmin(axis=1)
        values = probabilities(logits)[np.arange(len(logits)), closest]
        return Examples(
            "Validation texts with a label whose probability is closest to 50 %.",
            np.argsort(np.abs(logits).min(axis=1), kind="stable"),
            "Closest to 50 %",
            [f"{classes[label]} {100 * value:.1f} %" for label, value in zip(closest, values, strict=True)],
        )

    def plots(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str], metrics: Metrics
    ) -> dict[str, str]:
        from text_classifier.results import plots

        names = {"f1_micro": "F1 (micro)", "f1_macro": "F1 (macro)", "exact_match": "exact match"}
        drawn = {"quality": plots.curves(metrics, names, "Validation")}
        shown, title = _worst(metrics)
        rankings = {classes[i]: Ranking.of(logits[:, i], targets[:, i] == 1) for i in shown}
        return drawn | ({"precision_recall": plots.precision_recall(rankings, title)} if rankings else {})


class _RegressionAnswers(Answers[Regression]):
    kind = "Text regression model"
    doubt_columns = ("error", "standardized_error")

    def title(self, classes: Sequence[str]) -> str:
        return self.kind  # its output is no class

    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        return csv_header((), has_ids=has_ids, has_labels=has_labels)

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterable[list[str]]:
        return [[self.label(value, classes)] for value in self.task.predict(logits)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return exact(target)

    def doubts(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The error in root mean squared errors, of the rows that are far off."""
        errors = np.abs(self.task.predict(logits).astype(np.float64) - targets)
        usual = np.sqrt(np.mean(errors**2))
        return np.where(errors > FAR_OFF * usual, errors / max(usual, np.finfo(np.float64).tiny), np.nan)

    def doubt_cells(self, doubt: float, logits: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        return [format(float(self.task.predict(logits)[0] - target[0]), ".6g"), format(doubt, ".3g")]

    def plots(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str], metrics: Metrics
    ) -> dict[str, str]:
        from text_classifier.results import plots

        names = {"mae": "mean absolute error", "rmse": "root mean squared error"}
        return {
            "quality": plots.curves(metrics, names, "Validation"),
            "agreement": plots.agreement(self.task.predict(logits), targets),
        }


_BY_TASK: Mapping[type[Task], type[Answers[Any]]] = {
    SingleLabel: _SingleLabelAnswers,
    MultiLabel: _MultiLabelAnswers,
    Regression: _RegressionAnswers,
}
