"""The loss of each task. Not in tasks/, which must not import torch: the data check uses it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from text_classifier.contract.hyperparameters import Settings
from text_classifier.tasks.base import Task

#: Logits float32 [rows, outputs] and the task's targets to the loss of each row, float32 [rows].
RowLosses = Callable[[Tensor, Tensor], Tensor]


def row_losses(
    task: Task, settings: Settings, weights: np.ndarray | None = None, device: torch.device | None = None
) -> RowLosses:
    """The training loss. `weights`: those of Task.class_weights; `device`: where the logits are."""
    on_device = None if weights is None else torch.from_numpy(weights).to(device)
    return _BY_PROBLEM[task.problem_type](settings, on_device)


def _cross_entropy(settings: Settings, weights: Tensor | None) -> RowLosses:
    """As torch: the loss of a row has the weight of its class, the part spread by smoothing those of all classes."""
    smoothing, gamma = settings.label_smoothing, settings.focal_gamma

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        found = functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="none")
        if not gamma:
            return found
        return found * _focus(functional.cross_entropy(logits, targets, reduction="none"), gamma)

    return losses


def _binary_cross_entropy(settings: Settings, weights: Tensor | None) -> RowLosses:
    """The mean over the labels. Smoothing moves targets from 0 and 1 towards 0.5."""
    smoothing, gamma = settings.label_smoothing, settings.focal_gamma
    entropy = functional.binary_cross_entropy_with_logits

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.float()
        if smoothing:
            wanted = wanted * (1 - smoothing) + smoothing / 2
        found = entropy(logits, wanted, pos_weight=weights, reduction="none")
        if gamma:
            found = found * _focus(entropy(logits, wanted, reduction="none"), gamma)
        return found.mean(dim=1)

    return losses


def _squared_error(settings: Settings, weights: Tensor | None) -> RowLosses:
    assert weights is None  # parsing.py allows none of these settings

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(logits[:, 0], targets, reduction="none")

    return losses


def _focus(entropy: Tensor, gamma: float) -> Tensor:
    """The factor of the focal loss, (1 - p)^gamma, from the cross-entropy -log(p) of the right answer.

    Source: Lin et al., Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002
    """
    # At 0 the gradient of a power below 1 is infinite.
    return (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).eps) ** gamma


#: By transformers' name of the task, `Task.problem_type`.
_BY_PROBLEM: dict[str, Callable[[Settings, Tensor | None], RowLosses]] = {
    "single_label_classification": _cross_entropy,
    "multi_label_classification": _binary_cross_entropy,
    "regression": _squared_error,
}
