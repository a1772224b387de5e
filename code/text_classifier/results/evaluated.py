"""The evaluated rows, as the report needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from text_classifier.reading.rows import Rows
from text_classifier.tasks.base import Task

Measured = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The rows of all splits, and the logits of those that were evaluated."""

    task: Task
    classes: tuple[str, ...]
    rows: Mapping[str, Rows]
    lengths: Mapping[str, np.ndarray]  #: tokens of each row after truncation, int64 [rows]
    logits: Mapping[Measured, np.ndarray]  #: float32 [rows, outputs]
    full_lengths: Callable[[Sequence[str]], np.ndarray]  #: tokens of these texts without truncation, int64 [texts]

    @property
    def temperature(self) -> float | None:
        """Fitted on the validation rows; None if they were not evaluated, or if the task has no temperature."""
        if "validation" not in self.logits:
            return None
        return self.task.temperature(self.logits["validation"], self.rows["validation"].targets)

    @property
    def thresholds(self) -> dict[str, float] | None:
        """By label, fitted on the validation rows; None as for `temperature`."""
        if "validation" not in self.logits:
            return None
        fitted = self.task.fit_thresholds(self.logits["validation"], self.rows["validation"].targets)
        return None if fitted is None else dict(zip(self.classes, fitted.tolist(), strict=True))
