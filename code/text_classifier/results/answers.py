"""How each task shows its predictions: headings, CSV columns, examples and plots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from text_classifier.contract import schema
from text_classifier.contract.errors import listed
from text_classifier.contract.schema import Metrics
from text_classifier.evaluation import calibration
from text_classifier.evaluation.intervals import MANY_CLASSES, Ranking
from text_classifier.evaluation.single_label import log_odds
from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import MultiLabel, probabilities
from text_classifier.tasks.regression import Regression
from text_classifier.tasks.single_label import SingleLabel

#: Classes named in a title.
TITLED = 6

#: Most probable classes in predictions where there are too many for a column each.
RANKS = 5

AnyTask = TypeVar("AnyTask", bound=Task)


class Answers(ABC, Generic[AnyTask]):
    """How one task shows its predictions. `logits` are float32 [rows, outputs], `targets` those of the task."""

    kind: str  #: what the model is

    def __init__(self, task: AnyTask) -> None:
        self.task = task

    def title(self, classes: Sequence[str]) -> str:
        """The heading of the report: what the model is, and its classes."""
        return f"{self.kind}: {listed(classes, TITLED)}" if classes else self.kind

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
    def examples(self, logits: np.ndarray, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
        """Tables of rows worth a look: heading, explanation, row indices with the most interesting first."""

    @abstractmethod
    def confidence(self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
        """The last column of these tables: its heading, and its cell for each row."""

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
        return schema.csv_header((), has_ids=has_ids, has_labels=has_labels, ranks=RANKS)
    return schema.csv_header(classes, has_ids=has_ids, has_labels=has_labels)


def _probabilities(values: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The cells of these columns, from the probabilities of a row, float64 [classes]."""
    if len(classes) <= MANY_CLASSES:
        return [format(value, ".6g") for value in values]
    best = np.argsort(-values, kind="stable")[:RANKS]
    return [*(classes[index] for index in best), *(format(values[index], ".6g") for index in best)]


class _SingleLabelAnswers(Answers[SingleLabel]):
    kind = "Text classifier"

    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        return _header(classes, has_ids=has_ids, has_labels=has_labels)

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterator[list[str]]:
        for row, predicted in enumerate(self.task.predict(logits)):
            values = np.exp(calibration.log_probabilities(logits[row : row + 1], temperature))[0]
            yield [classes[predicted], *_probabilities(values, classes)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return classes[target]

    def examples(self, logits: np.ndarray, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
        probabilities = calibration.confidences(logits)
        wrong = np.flatnonzero(self.task.predict(logits) != targets)
        second, best = np.partition(logits, -2, axis=1)[:, -2:].T
        return [
            (
                "Most confident mistakes",
                "Wrongly classified validation texts, most confident first. Some of them may be labeled wrongly.",
                wrong[np.argsort(-probabilities[wrong], kind="stable")],
            ),
            (
                "Least certain predictions",
                "Validation texts with the smallest margin between the two most probable classes.",
                np.argsort(best - second, kind="stable"),
            ),
        ]

    def confidence(self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
        return "Probability", [f"{100 * value:.1f} %" for value in calibration.confidences(logits)]

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
        shown = [1] if len(classes) == 2 else range(len(classes))
        odds = log_odds(logits)
        rankings = {classes[i]: Ranking.of(odds[:, i], targets == i) for i in shown if np.any(targets == i)}
        return drawn | ({"precision_recall": plots.precision_recall(rankings)} if rankings else {})


class _MultiLabelAnswers(Answers[MultiLabel]):
    kind = "Multi-label text classifier"

    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        return _header(classes, has_ids=has_ids, has_labels=has_labels)

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterator[list[str]]:
        for row, predicted in enumerate(self.task.predict(logits)):
            yield [self.label(predicted, classes), *_probabilities(probabilities(logits[row : row + 1])[0], classes)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return self.task.separator.join(classes[index] for index in np.flatnonzero(target).tolist())

    def examples(self, logits: np.ndarray, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
        wrong = np.flatnonzero((self.task.predict(logits) != targets).any(axis=1))
        off = np.abs(probabilities(logits) - targets).max(axis=1)
        return [
            (
                "Most confident mistakes",
                "Validation texts with a wrong label, most confident first, and the probability of the label that is "
                "furthest off. Some of them may be labeled wrongly.",
                wrong[np.argsort(-off[wrong], kind="stable")],
            ),
            (
                "Least certain predictions",
                "Validation texts with a label whose probability is closest to 50 %.",
                np.argsort(np.abs(logits).min(axis=1), kind="stable"),
            ),
        ]

    def confidence(self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
        furthest = np.abs(probabilities(logits) - targets).argmax(axis=1)
        values = probabilities(logits)[np.arange(len(targets)), furthest]
        return "Furthest off", [
            f"{classes[at]} {100 * value:.1f} %" for at, value in zip(furthest, values, strict=True)
        ]

    def plots(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str], metrics: Metrics
    ) -> dict[str, str]:
        from text_classifier.results import plots

        names = {"f1_micro": "F1 (micro)", "f1_macro": "F1 (macro)", "exact_match": "exact match"}
        drawn = {"quality": plots.curves(metrics, names, "Validation")}
        counts = targets.sum(axis=0, dtype=np.int64)
        shown = [index for index in np.argsort(-counts, kind="stable")[: plots.MOST_CURVES] if counts[index]]
        rankings = {classes[i]: Ranking.of(logits[:, i], targets[:, i] == 1) for i in shown}
        return drawn | ({"precision_recall": plots.precision_recall(rankings)} if rankings else {})


class _RegressionAnswers(Answers[Regression]):
    kind = "Text regression model"

    def header(self, classes: Sequence[str], *, has_ids: bool, has_labels: bool) -> list[str]:
        return schema.csv_header((), has_ids=has_ids, has_labels=has_labels)

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> Iterable[list[str]]:
        return [[self.label(value, classes)] for value in self.task.predict(logits)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return format(target, ".6g")

    def examples(self, logits: np.ndarray, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
        return [
            (
                "Largest errors",
                "Validation texts, largest error first. Some of them may be labeled wrongly.",
                np.argsort(-np.abs(self.task.predict(logits) - targets), kind="stable"),
            )
        ]

    def confidence(self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
        return "Error", [f"{value:+.2f}" for value in self.task.predict(logits) - targets]

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
