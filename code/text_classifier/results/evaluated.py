"""The evaluated rows, as the report needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from text_classifier.evaluation.temperature import Temperature
from text_classifier.reading.rows import Rows
from text_classifier.runtime.seeds import SeedStream
from text_classifier.tasks.base import Task
from text_classifier.tokenization.windows import Windows

Measured = Literal["validation", "test"]
MEASURED: tuple[Measured, ...] = ("validation", "test")

#: Training rows whose labels are judged (label_issues.py). More are not: it takes the model another pass over them.
MOST_JUDGED = 10_000


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The rows of all splits, and the logits of those that were evaluated."""

    task: Task
    classes: tuple[str, ...]
    rows: Mapping[str, Rows]
    lengths: Mapping[str, np.ndarray]  #: tokens of each text after truncation, int64 [rows]
    logits: Mapping[Measured, np.ndarray]  #: float32 [rows, outputs]
    training_logits: np.ndarray | None  #: of the training rows, if they were evaluated too
    is_cross_validated: bool = False  #: whether `training_logits` are of models that have not learned the row
    seed: int
    full_lengths: Callable[[Sequence[str]], np.ndarray]  #: tokens of these texts without truncation, int64 [texts]
    windows: Mapping[str, Windows] = field(default_factory=dict)  #: of each split; only with long_texts=mean
    first_window_logits: Mapping[Measured, np.ndarray] = field(default_factory=dict)  #: as `logits`, of these windows

    @cached_property
    def temperature(self) -> Temperature | None:
        """Judged on the validation rows; None if they were not evaluated, or if the task has no temperature."""
        if "validation" not in self.logits:
            return None
        random = np.random.default_rng((self.seed, SeedStream.CALIBRATION_FOLDS))
        return self.task.temperature(self.logits["validation"], self.rows["validation"].targets, random)

    @property
    def thresholds(self) -> dict[str, float] | None:
        """By label, fitted on the validation rows; None as for `temperature`."""
        if "validation" not in self.logits:
            return None
        fitted = self.task.fit_thresholds(self.logits["validation"], self.rows["validation"].targets)
        return None if fitted is None else dict(zip(self.classes, fitted.tolist(), strict=True))
