"""Logits of a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from text_classifier.contract.errors import explain
from text_classifier.modeling.load import Classifier
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.batches import Batch, Split, collate, evaluation_rows
from text_classifier.training.cluster import Cluster
from text_classifier.training.micro_batches import TokenLimit, within_memory


def predict(
    classifier: Classifier,
    split: Split,
    batch_size: int,
    cluster: Cluster,
    stop: StopSignal,
    *,
    limit: TokenLimit | None = None,
    setting: str = "eval_batch_size",
) -> np.ndarray | None:
    """Logits of all texts in order, float32 [texts, outputs], equal on all ranks; None if stopped.

    Those of a text in windows are the mean over them. Otherwise as `row_logits`.
    """
    found = row_logits(classifier, split, batch_size, cluster, stop, limit=limit, setting=setting)
    return None if found is None else split.means(found)


def row_logits(
    classifier: Classifier,
    split: Split,
    batch_size: int,
    cluster: Cluster,
    stop: StopSignal,
    *,
    limit: TokenLimit | None = None,
    setting: str = "eval_batch_size",
) -> np.ndarray | None:
    """Logits of all rows of the tokens in order, float32 [rows, outputs], equal on all ranks; None if stopped.

    What does not fit into GPU memory at once is computed in micro-batches; `limit` is what is known of it. Raises
    SettingsError if a row does not fit; it names `setting`, the source of `batch_size`.
    """
    try:
        return _predict(classifier, split, batch_size, cluster, stop, limit or TokenLimit("evaluation"))
    except Exception as error:
        explained = explain(error, setting, batch_size)
        if explained is error:
            raise
        raise explained from error


def _predict(
    classifier: Classifier, split: Split, batch_size: int, cluster: Cluster, stop: StopSignal, limit: TokenLimit
) -> np.ndarray | None:
    classifier.eval()
    outputs = classifier.model.config.num_labels
    assert outputs is not None
    logits = torch.zeros(len(split.tokens), outputs, device=cluster.device)
    with torch.inference_mode():
        for rows in evaluation_rows(split, batch_size, cluster.rank, cluster.world_size):
            if cluster.any_rank(stop.requested):
                return None
            if not len(rows):
                continue
            order, found = batch_logits(classifier, split, rows, cluster.device, limit)
            logits[torch.from_numpy(order).to(cluster.device)] = found
    limit.agree(cluster)
    return cluster.all_reduce(logits).cpu().numpy()


def batch_logits(
    classifier: Classifier, split: Split, rows: np.ndarray, device: torch.device, limit: TokenLimit | None = None
) -> tuple[np.ndarray, torch.Tensor]:
    """These rows in the order of the batch, longest first, and their logits, float32 [rows, outputs] on `device`."""
    batch = collate(classifier, split, rows, len(rows))

    def compute(parts: Sequence[Batch]) -> torch.Tensor:
        return torch.cat([classifier(**part.to(device).inputs) for part in parts])

    limit = limit or TokenLimit("evaluation")
    return batch.rows, within_memory(classifier, split, batch, limit, compute, torch.cuda.empty_cache)
