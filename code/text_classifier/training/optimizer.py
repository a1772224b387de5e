"""The optimizer, its learning rates, and their schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.layers import depths, head_depth
from text_classifier.modeling.load import Classifier
from text_classifier.ops.backend import FusedAdamW


class LearningRates:
    """The learning rates of the parameter groups: one tensor on the device, which a CUDA graph reads at each replay."""

    def __init__(self, factors: Sequence[float], device: torch.device) -> None:
        """`factors`: of each group, on the rate that `set` gets."""
        self._factors = torch.tensor(factors, device=device)
        self.tensor = torch.zeros_like(self._factors)  #: float32 [groups]

    def set(self, rate: float) -> None:
        """Set the rate of groups with the factor 1, and the others with it; does not wait for the device."""
        torch.mul(self._factors, rate, out=self.tensor)


def adamw(classifier: Classifier, settings: Settings) -> tuple[FusedAdamW, LearningRates]:
    """The optimizer of the parameters that are not frozen, and its learning rates.

    No weight decay for vectors (biases, LayerNorm). Raises SettingsError for a model whose layers cannot have rates of
    their own.
    """
    groups, factors = _groups(classifier, settings)
    rates = LearningRates(factors, classifier.precision.device)
    rates.set(settings.learning_rate)
    optimizer = classifier.ops.adamw(groups, rates.tensor, settings.adam_epsilon, classifier.shadow_weights)
    return optimizer, rates


def _groups(classifier: Classifier, settings: Settings) -> tuple[list[dict[str, Any]], list[float]]:
    """The parameter groups, and the factor on the learning rate of each."""
    parameters: list[Tensor] = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    decay = settings.layerwise_lr_decay
    depth_of = dict.fromkeys(parameters, 0) if decay == 1 else depths(classifier.model, "layerwise_lr_decay")
    deepest = head_depth(depth_of)
    groups, factors = [], []
    for depth in range(deepest, -1, -1):
        at_depth = [parameter for parameter in parameters if depth_of[parameter] == depth]
        for is_matrix, weight_decay in ((True, settings.weight_decay), (False, 0.0)):
            if chosen := [parameter for parameter in at_depth if (parameter.ndim >= 2) == is_matrix]:
                groups.append({"params": chosen, "weight_decay": weight_decay})
                factors.append(decay ** (deepest - depth))
    return groups, factors


def schedule(name: str, step: int, warmup_steps: int, total_steps: int) -> float:
    """The learning rate's factor in a step, counted from 0: linear warm-up, then as `lr_scheduler` says.

    The schedules of transformers' get_scheduler, without state: a job may resume at any step.
    """
    if step < warmup_steps:
        return step / warmup_steps
    if name == "constant":
        return 1.0
    left = max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
    return left if name == "linear" else (1 - math.cos(math.pi * left)) / 2
