"""Logits of a split, and all that the report needs of the rows that were evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from batches import Split, collate, evaluation_rows
from cluster import Cluster
from model import Classifier
from stop import StopSignal
from task import Task

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
    logits: Mapping[str, np.ndarray]
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


def predict(
    classifier: Classifier, split: Split, batch_size: int, cluster: Cluster, stop: StopSignal
) -> np.ndarray | None:
    """Logits of all rows in their order, float32 [rows, outputs], the same on every rank; None when stopped."""
    classifier.eval()
    logits = torch.zeros(len(split), classifier.model.config.num_labels, device=cluster.device)
    with torch.inference_mode():
        for rows in evaluation_rows(split, batch_size, cluster.rank, cluster.world_size):
            if cluster.any(stop.requested):
                return None
            if not len(rows):
                continue
            batch = collate(classifier, split, rows, len(rows)).to(cluster.device)
            logits[torch.from_numpy(batch.rows).to(cluster.device)] = classifier(**batch.inputs)
    return cluster.sum(logits).cpu().numpy()
