"""The loss of each task. Not in tasks/, which must not import torch: the data check uses it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

#: Logits float32 [rows, outputs] and the task's targets to the loss of each row, float32 [rows].
RowLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, targets, reduction="none")


def _binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean over the labels."""
    return functional.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").mean(dim=1)


def _squared_error(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(logits[:, 0], targets, reduction="none")


#: By transformers' name of the task, `Task.problem_type`.
ROW_LOSSES: dict[str, RowLosses] = {
    "single_label_classification": _cross_entropy,
    "multi_label_classification": _binary_cross_entropy,
    "regression": _squared_error,
}
