"""Products of a packed batch with weights: several modules at once, in 16 bits, with gradients in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import cuda_kernels
import kernels


def of(device: torch.device) -> ModuleType:
    """The module with all else that is computed on the device."""
    return cuda_kernels if device.type == "cuda" else kernels


def linear(x: torch.Tensor, modules: Sequence[nn.Linear], *, has_bias: bool) -> torch.Tensor:
    """The outputs of several modules side by side, by one product in the format of `x`: [rows, outputs]."""
    return branch(x, modules, has_bias=has_bias)[0]


def branch(x: torch.Tensor, modules: Sequence[nn.Linear], *, has_bias: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What `linear` returns, and `x` for its other use: the gradients of both uses are added up by the product."""
    weights = [module.weight for module in modules]
    output, again = _Linear.apply(x, has_bias, *weights, *(module.bias for module in modules if has_bias))
    return output, again


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, has_bias: bool, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weights = parameters[: len(parameters) // (1 + has_bias)]
        ctx.outputs = [len(part) for part in weights]
        ctx.has_bias = has_bias
        ctx.set_materialize_grads(False)
        weight = _side_by_side(weights, x.dtype)
        ctx.save_for_backward(x, weight)
        bias = _side_by_side(parameters[len(weights) :], x.dtype) if has_bias else None
        return functional.linear(x, weight, bias), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        d_output, d_again = gradients[0].contiguous(), gradients[1]
        device = of(x.device)
        d_weights = device.weight_gradient(d_output, x).split(ctx.outputs)
        d_biases = device.bias_gradient(d_output).split(ctx.outputs) if ctx.has_bias else ()
        d_x = d_output @ weight if d_again is None else d_again.addmm_(d_output, weight)
        return d_x, None, *d_weights, *d_biases


def _side_by_side(parts: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    own = [part.to(dtype) for part in parts]
    return torch.cat(own) if len(own) > 1 else own[0]
