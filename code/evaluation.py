"""Logits of a split, and the metrics made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

import calibration
from batches import Split, collate, evaluation_rows
from cluster import Cluster
from model import Classifier
from stop import StopSignal

#: The index of each row's value, int64 [rows], and the values.
Slices = tuple[np.ndarray, tuple[str, ...]]


@dataclass(frozen=True)
class Evaluated:
    """The splits, the logits of those that were evaluated (float32 [rows, classes]), and access to their rows.

    The three functions take a split's name and row indices. They return the texts, where in the files these stand, and
    their tokens without truncation (int64 [rows]).
    """

    splits: Mapping[str, Split]
    logits: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    texts: Callable[[str, np.ndarray], list[str]]
    places: Callable[[str, np.ndarray], list[str]]
    full_lengths: Callable[[str, np.ndarray], np.ndarray]
    slices: Mapping[str, Slices] = field(default_factory=dict)  #: of the splits that were read with a slice column

    @property
    def temperature(self) -> float | None:
        """Fitted on the validation rows; None when they were not evaluated."""
        if "validation" not in self.logits:
            return None
        return calibration.fit_temperature(self.logits["validation"], self.splits["validation"].classes)


def predict(
    classifier: Classifier, split: Split, batch_size: int, cluster: Cluster, stop: StopSignal
) -> np.ndarray | None:
    """Logits of all rows in their order, float32 [rows, classes], the same on every rank; None when stopped."""
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


def measure(logits: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Metrics by the names of `metrics.METRICS`, and the mean cross-entropy as `loss`.

    logits [rows, classes], classes int64 [rows]. Of two classes the second is the positive one. A class without a row
    and never predicted counts 0 in the macro averages. ROC AUC and AUPRC are of the scores, not of the predictions;
    they are left out when the rows hold one class only.
    """
    from sklearn.metrics import (
        accuracy_score,
        average_precision_score,
        precision_recall_fscore_support,
        roc_auc_score,
    )

    scores = torch.from_numpy(logits).double()
    predicted = logits.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        classes, predicted, labels=range(logits.shape[1]), average="macro", zero_division=0
    )
    values = {
        "loss": torch.nn.functional.cross_entropy(scores, torch.from_numpy(classes)).item(),
        "accuracy": float(accuracy_score(classes, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
    }
    if logits.shape[1] == 2 and len(np.unique(classes)) == 2:
        positive = (scores[:, 1] - scores[:, 0]).numpy()
        values["roc_auc"] = float(roc_auc_score(classes, positive))
        values["auprc"] = float(average_precision_score(classes, positive))
    return values


def majority_accuracy(training: np.ndarray, evaluated: np.ndarray) -> float:
    """Accuracy of always answering the most frequent training class: what any model must beat."""
    return float(np.mean(evaluated == np.bincount(training).argmax()))
