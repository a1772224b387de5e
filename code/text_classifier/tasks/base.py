"""What the labels of a job are: one class a row, any labels a row, or a number.

All that follows from it is in one class for each task; the rest of the code asks the task, and knows none by its name.
Needs no torch: the data check reads labels too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import SplitMetrics
from text_classifier.evaluation.intervals import Interval
from text_classifier.evaluation.slices import by_length
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import LabelReader
from text_classifier.runtime.seeds import SeedStream

#: A metric's name and its value or its interval.
Values = dict[str, float]
Intervals = dict[str, Interval]


class Task(ABC):
    """A kind of label.

    `targets` are what the model learns, an array with a row for each row of a split: see each task. `logits` are what
    it gives, float32 [rows, outputs]; `predicted` is what that means, of the targets' form. `classes` name the outputs.
    """

    problem_type: ClassVar[str]  #: transformers' name, which its models and pipelines go by
    headline: ClassVar[str]  #: the metric that the report leads with
    sliced: ClassVar[tuple[str, ...]]  #: metrics of the slices by length
    most_frequent: ClassVar[str]  #: what the simplest baseline always answers
    words: ClassVar[str]  #: the baseline that counts words

    @abstractmethod
    def reader(self, label_map: LabelMap | None, settings: Settings) -> LabelReader:
        """What reads the label column of one channel."""

    @abstractmethod
    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        """Raises DataError or SettingsError when these training rows cannot be learned from, or not measured so."""

    @abstractmethod
    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        """The stratum of each row, int64 [rows]: what is held out has its share of each."""

    @abstractmethod
    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        """What data_report.json says about the labels of a split."""

    @abstractmethod
    def table(self, splits: Mapping[str, Any]) -> list[str]:
        """The same of all splits, as lines for a log; `splits` are the report's."""

    @abstractmethod
    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        """What a person should know about the targets of the splits."""

    def first_bias(self, targets: np.ndarray) -> float | None:
        """Where a new head starts, so that it need not first find the level of the labels; None: as it comes."""
        return None

    @abstractmethod
    def predict(self, logits: np.ndarray) -> np.ndarray:
        """What the model answers."""

    @abstractmethod
    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        """The metrics of an epoch by their names in `metrics.BY_TASK`, and the mean loss as `loss`."""

    def temperature(self, logits: np.ndarray, targets: np.ndarray) -> float | None:
        """What to divide the logits by for probabilities to be believed; None where there are none."""
        return None

    @abstractmethod
    def score(
        self, predicted: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        """Metrics of answers, and their 95 % intervals. `count` is the number of classes."""

    @abstractmethod
    def difference(
        self, predicted: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        """By how much `predicted` is more than `other` in the headline metric, on the very same rows."""

    def details(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        temperature: float | None,
        random: np.random.Generator,
    ) -> tuple[Values, Intervals, dict[str, Any]]:
        """Metrics of the logits that `score` cannot give, their intervals if they have any, and tables."""
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

    @abstractmethod
    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        """The answers of the simplest baseline, which looks at no text."""

    @abstractmethod
    def fit(self, counts: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        """Learn from word counts (a sparse matrix [rows, words]); returns what answers for others. None: there is
        nothing to learn."""
