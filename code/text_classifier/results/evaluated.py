"""All that the report needs of the rows that were evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from text_classifier.tasks.base import Task
from text_classifier.training.batches import Split

Measured = Literal["validation", "test"]

#: The index of each row's value, int64 [rows], and the values.
Slices = tuple[np.ndarray, tuple[str, ...]]


@dataclass(frozen=True)
class Evaluated:
    """The splits, the logits of those that were evaluated (float32 [rows, outputs]), and access to their rows.

    The three functions take a split's name and row indices. They return the texts, where in the files these stand, and
    their tokens without truncation (int64 [rows]).
    """

    task: Task
    splits: Mapping[str, Split]
    logits: Mapping[Measured, np.ndarray]
    classes: tuple[str, ...]
    texts: Callable[[str, np.ndarray], list[str]]
    places: Callable[[str, np.ndarray], list[str]]
    full_lengths: Callable[[str, np.ndarray], np.ndarray]
    slices: Mapping[str, Slices] = field(default_factory=dict)  #: of the splits that were read with a slice column

    @property
    def temperature(self) -> float | None:
        """Fitted on the validation rows; None when they were not evaluated, or when the task has none."""
        if "validation" not in self.logits:
            return None
        return self.task.temperature(self.logits["validation"], self.splits["validation"].targets)
