"""AdamW on a GPU: one pass over all weights, which also renews the copies of them that products read (products.py)."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from text_classifier.ops.cuda.driver import launch

BETAS = (0.9, 0.999)

#: As in adamw.cu: threads and numbers of a block, tensors of a launch, whose arguments may have 4 KB.
THREADS = 256
NUMBERS = THREADS * 4 * 2
TENSORS = 64


class _Tensor(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weights", "gradients", "means", "squares", "copies")),
        ("size", ctypes.c_uint32), ("first_block", ctypes.c_uint32), ("decay", ctypes.c_float),
    ]  # fmt: skip


class _Tensors(ctypes.Structure):
    _fields_ = [("of", _Tensor * TENSORS)]


class AdamW(torch.optim.Optimizer):
    """The steps of torch.optim.AdamW, with the learning rate as a tensor on the GPU.

    `copies` has narrow copies of some parameters. As torch's fused optimizers have it, gradients are divided by
    `grad_scale`, and a step whose `found_inf` is 1.0 changes nothing.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        rate: torch.Tensor,
        epsilon: float,
        copies: Mapping[torch.Tensor, torch.Tensor],
    ) -> None:
        super().__init__(groups, {"lr": rate, "eps": epsilon, "weight_decay": 0.0})
        self.grad_scale: torch.Tensor | None = None
        self.found_inf: torch.Tensor | None = None
        self._rate = rate
        self._epsilon = epsilon
        self._copies = copies
        self._like = next(iter(copies.values()), rate)  # of the copies' format
        self._betas = torch.tensor(BETAS, dtype=torch.float64, device=rate.device)
        self._steps = torch.zeros((), dtype=torch.float32, device=rate.device)  # one for all
        for group in self.param_groups:
            for parameter in group["params"]:
                moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": self._steps, **moments}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change the weights. Those without a gradient stay as they are."""
        self._steps += 1 if self.found_inf is None else 1 - self.found_inf
        powers = self._betas**self._steps
        with_gradient = [
            (parameter, group["weight_decay"])
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        for start in range(0, len(with_gradient), TENSORS):
            some = with_gradient[start : start + TENSORS]
            table, blocks = _Tensors(), 0
            gradients = [parameter.grad.contiguous() for parameter, _ in some]
            for entry, gradient, (parameter, decay) in zip(table.of, gradients, some, strict=False):
                moments = self.state[parameter]
                copy = self._copies.get(parameter)
                entry.weights, entry.gradients = parameter.data_ptr(), gradient.data_ptr()
                entry.means, entry.squares = moments["exp_avg"].data_ptr(), moments["exp_avg_sq"].data_ptr()
                entry.copies = None if copy is None else copy.data_ptr()
                entry.size, entry.first_block, entry.decay = parameter.numel(), blocks, decay
                blocks += math.ceil(parameter.numel() / NUMBERS)
            launch(
                "adamw_step", self._like, {}, (blocks, 1), THREADS,
                table, len(some), powers, self._rate, self.grad_scale, self.found_inf,
                *(1 - beta for beta in BETAS), self._epsilon,
            )  # fmt: skip
