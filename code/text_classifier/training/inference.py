"""Logits of a split."""

from __future__ import annotations

import numpy as np
import torch

from text_classifier.contract.errors import explain
from text_classifier.modeling.load import Classifier
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.batches import Split, collate, evaluation_rows
from text_classifier.training.cluster import Cluster


def predict(
    classifier: Classifier,
    split: Split,
    batch_size: int,
    cluster: Cluster,
    stop: StopSignal,
    *,
    setting: str = "eval_batch_size",
) -> np.ndarray | None:
    """Logits of all rows in their order, float32 [rows, outputs], the same on every rank; None when stopped.

    Raises SettingsError that names `setting`, where `batch_size` comes from, when a batch does not fit into the GPU.
    """
    try:
        return _predict(classifier, split, batch_size, cluster, stop)
    except Exception as error:
        known = explain(error, setting, batch_size)
        if known is error:
            raise
        raise known from error


def _predict(
    classifier: Classifier, split: Split, batch_size: int, cluster: Cluster, stop: StopSignal
) -> np.ndarray | None:
    classifier.eval()
    logits = torch.zeros(len(split), classifier.model.config.num_labels, device=cluster.device)
    with torch.inference_mode():
        for rows in evaluation_rows(split, batch_size, cluster.rank, cluster.world_size):
            if cluster.any_rank(stop.requested):
                return None
            if not len(rows):
                continue
            batch = collate(classifier, split, rows, len(rows)).to(cluster.device)
            logits[torch.from_numpy(batch.rows).to(cluster.device)] = classifier(**batch.inputs)
    return cluster.all_reduce(logits).cpu().numpy()
