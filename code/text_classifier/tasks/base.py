"""The interface of a task: one class per row, any number of labels per row, or one number per row.

The rest of the code asks the task and knows none by its name. Needs no torch: the data check reads labels too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from text_classifier.contract.errors import listed
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import SplitMetrics
from text_classifier.evaluation.intervals import Interval
from text_classifier.evaluation.slices import by_length
from text_classifier.evaluation.temperature import Temperature
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import LabelReader
from text_classifier.runtime.seeds import SeedStream

#: Classes in the log; data_report.json has all.
CLASSES_SHOWN = 20

#: A metric's name and its value or its interval.
Values = dict[str, float]
Intervals = dict[str, Interval]


class Task(ABC):
    """A kind of label.

    `targets` are the labels as the model learns them, [rows, ...]; their form depends on the task. `logits` are the
    model's outputs, float32 [rows, outputs], and `predicted` the predictions, in the form of targets. `classes` name
    the outputs.
    """

    problem_type: ClassVar[str]  #: the name that transformers uses in a model's config
    headline: ClassVar[str]  #: the main metric of the report
    sliced: ClassVar[tuple[str, ...]]  #: metrics of the slices
    constant_baseline: ClassVar[str]  #: name of the baseline that ignores the text
    tfidf_baseline: ClassVar[str]  #: name of the baseline on TF-IDF features

    @abstractmethod
    def reader(self, label_map: LabelMap | None, settings: Settings) -> LabelReader:
        """The reader of the label column of one channel."""

    @abstractmethod
    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        """Raises DataError or SettingsError if a model cannot learn from these training rows, or not be chosen so."""

    def outputs(self, classes: Sequence[str]) -> str:
        """What the model predicts, for the log."""
        return f"classes: {listed(classes, CLASSES_SHOWN)}"

    def missing(self, targets: np.ndarray, classes: Sequence[str]) -> list[str]:
        """The classes that no row has."""
        return []

    def unmeasurable(self, targets: np.ndarray) -> Mapping[str, str]:
        """The metrics that are undefined for these validation rows, each with the reason."""
        return {}

    @abstractmethod
    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        """The stratum of each row, int64 [rows]; the validation split gets its share of each."""

    @abstractmethod
    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        """The label statistics of a split, for data_report.json: keys of schema.SplitReport."""

    @abstractmethod
    def table(self, splits: Mapping[str, Any]) -> list[str]:
        """The label statistics of all splits as lines for the log; `splits` are those of data_report.json."""

    @abstractmethod
    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        """Warnings about the targets of the splits."""

    def class_weights(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> np.ndarray | None:
        """The weights of the classes in the training loss, float32 [classes]; None: all 1. `targets`: of the training
        rows. Raises SettingsError if the setting does not fit the classes."""
        return None

    def first_bias(self, targets: np.ndarray) -> float | None:
        """Initial bias of the output layer, so that training need not learn the mean label first; None: the default."""
        return None

    @abstractmethod
    def predict(self, logits: np.ndarray) -> np.ndarray:
        """The predictions, in the form of targets."""

    @abstractmethod
    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        """The metrics of an epoch, with the names of `metric_names.BY_TASK`, and the mean loss as `loss`."""

    def temperature(self, logits: np.ndarray, targets: np.ndarray, random: np.random.Generator) -> Temperature | None:
        """The divisor of the logits that calibrates the probabilities, if any helps; None if the task has none."""
        return None

    def fit_thresholds(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """The probability of each label above which to predict it, fitted on these rows, float64 [labels]; None if the
        task has none."""
        return None

    def with_thresholds(self, thresholds: Sequence[float]) -> Task:
        """The task whose `predict` uses these thresholds; itself if it has none."""
        return self

    @abstractmethod
    def score(
        self, predicted: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        """Metrics of predictions, and their 95 % intervals. `count` is the number of classes."""

    @abstractmethod
    def difference(
        self, predicted: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        """Headline metric of `predicted` minus that of `other` on the same rows, with a paired interval."""

    def details(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        temperature: float | None,
        random: np.random.Generator,
    ) -> tuple[Values, Intervals, dict[str, Any]]:
        """Metrics that need the logits, their intervals where there are any, and the tables of SplitMetrics."""
        return {}, {}, {}

    def assess(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        lengths: np.ndarray,
        temperature: float | None,
        seed: int,
    ) -> SplitMetrics:
        """All metrics of a split, for metrics.json. lengths int64 [rows], in tokens."""
        random = np.random.default_rng((seed, SeedStream.SPLIT_INTERVALS))
        predicted = self.predict(logits)

        def score(rows: np.ndarray) -> tuple[Values, Intervals]:
            return self.score(predicted[rows], targets[rows], len(classes), random)

        values, intervals = score(np.arange(len(targets)))
        more_values, more_intervals, tables = self.details(logits, targets, classes, temperature, random)
        values, intervals = values | more_values, intervals | more_intervals
        measured = {
            "rows": len(targets),
            **values,
            "intervals": {name: list(intervals[name]) for name in values if name in intervals},
            **tables,
            "by_length": by_length(lengths, score, self.sliced),
        }
        return cast(SplitMetrics, measured)

    def cautions(self, measured: SplitMetrics) -> list[str]:
        """What the metrics of a split show to be wrong with the model, in sentences without a period."""
        return []

    @abstractmethod
    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        """Predictions of the constant baseline, which ignores the text."""

    def tfidf_name(self, targets: np.ndarray) -> str:
        """The name of what `fit` fits on these targets."""
        return self.tfidf_baseline

    @abstractmethod
    def fit(self, features: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        """Fit a linear model on TF-IDF features (sparse [rows, terms]). Returns its predict function, or None if there
        is nothing to learn."""
