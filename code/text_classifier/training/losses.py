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
    """The loss of a row has the weight of its class.

    torch would weight the part that smoothing spreads by the classes that it falls on: with a rare class this part
    outweighs the targets, and the model predicts that class for every row.
    """
    smoothing, gamma = settings.label_smoothing, settings.focal_gamma

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        found = functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        if gamma:
            found = found * _focus(found, gamma)
        return found if weights is None else found * weights[targets]

    return losses


def _binary_cross_entropy(settings: Settings, weights: Tensor | None) -> RowLosses:
    """The mean over the labels, in which a label that a row has counts by its weight.

    That is torch's pos_weight, but for smoothing, which moves targets from 0 and 1 towards 0.5: pos_weight would also
    weight what it adds to the labels that a row does not have, as in `_cross_entropy`.
    """
    smoothing, gamma = settings.label_smoothing, settings.focal_gamma

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.float()
        if smoothing:
            wanted = wanted * (1 - smoothing) + smoothing / 2
        found = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if gamma:
            found = found * _focus(found, gamma)
        if weights is not None:
            found = found * torch.where(targets == 1, weights, 1.0)
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
