"""AdamW on a GPU: one pass over all weights, which also refreshes the shadow weights (ops/linear.py)."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from text_classifier.ops.backend import FusedAdamW, with_rates
from text_classifier.ops.cuda.constants import CONSTANTS
from text_classifier.ops.cuda.driver import launch

BETAS = (0.9, 0.999)

THREADS, TENSORS = CONSTANTS["adamw"]["THREADS"], CONSTANTS["adamw"]["TENSORS"]
ELEMENTS_PER_BLOCK = THREADS * CONSTANTS["adamw"]["ELEMENTS_PER_THREAD"]


class _Tensor(ctypes.Structure):
    """The layout of Tensor in adamw.cu; _Tensors too."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weights", "gradients", "exp_avg", "exp_avg_sq", "shadow")),
        ("size", ctypes.c_uint32), ("first_block", ctypes.c_uint32), ("group", ctypes.c_uint32),
        ("weight_decay", ctypes.c_float),
    ]  # fmt: skip


class _Tensors(ctypes.Structure):
    _fields_ = [("tensors", _Tensor * TENSORS)]


class AdamW(FusedAdamW):
    """As Backend.adamw."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: Tensor, epsilon: float, shadow_weights: Mapping[Tensor, Tensor]
    ) -> None:
        super().__init__(with_rates(groups, lr), betas=BETAS, eps=epsilon, fused=True)
        self.grad_scale = self.found_inf = None
        self._lr = lr
        self._epsilon = epsilon
        self._shadow_weights = shadow_weights
        self._like = next(iter(shadow_weights.values()), lr)  # of the shadow weights' dtype
        self._betas = torch.tensor(BETAS, dtype=torch.float64, device=lr.device)
        self._steps = torch.zeros((), dtype=torch.float32, device=lr.device)  # shared by all parameters
        for group in self.param_groups:
            for parameter in group["params"]:
                moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": self._steps, **moments}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the weights that have a gradient. Takes no closure: the parameter is torch's."""
        self._steps += 1 if self.found_inf is None else 1 - self.found_inf
        beta_powers = self._betas**self._steps
        with_gradient = [
            (parameter, number, group["weight_decay"])
            for number, group in enumerate(self.param_groups)
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        for start in range(0, len(with_gradient), TENSORS):
            batch = with_gradient[start : start + TENSORS]
            table, blocks = _Tensors(), 0
            gradients = [parameter.grad.contiguous() for parameter, *_ in batch]
            for entry, gradient, (parameter, group, weight_decay) in zip(table.tensors, gradients, batch, strict=False):
                moments, shadow = self.state[parameter], self._shadow_weights.get(parameter)
                entry.weights, entry.gradients = parameter.data_ptr(), gradient.data_ptr()
                entry.exp_avg, entry.exp_avg_sq = moments["exp_avg"].data_ptr(), moments["exp_avg_sq"].data_ptr()
                entry.shadow = None if shadow is None else shadow.data_ptr()
                entry.size, entry.first_block = parameter.numel(), blocks
                entry.group, entry.weight_decay = group, weight_decay
                blocks += math.ceil(parameter.numel() / ELEMENTS_PER_BLOCK)
            launch(
                "adamw_step",
                (
                    table, len(batch), beta_powers, self._lr, self.grad_scale, self.found_inf,
                    *(1 - beta for beta in BETAS), self._epsilon,
                ),
                like=self._like, grid=(blocks, 1), threads=THREADS,
            )  # fmt: skip
