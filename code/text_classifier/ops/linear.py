"""Products of a packed batch with weights: several modules at once, in 16 bits, with gradients in fp32."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from text_classifier.ops.cpu import bindings as kernels
from text_classifier.ops.cuda import bindings as cuda_kernels


def bindings_for(device: torch.device) -> ModuleType:
    """The module with all else that is computed on the device."""
    return cuda_kernels if device.type == "cuda" else kernels


class ShadowWeights:
    """Narrow shadow of the weights and biases of linear modules, those of a product side by side.

    They stay from step to step: who changes a parameter renews its copy.
    """

    def __init__(self, products: Iterable[Sequence[nn.Linear]], dtype: torch.dtype) -> None:
        self.by_parameter: dict[torch.Tensor, torch.Tensor] = {}  #: by parameter
        self._fused: dict[torch.Tensor, torch.Tensor] = {}  #: by the first parameter
        for modules in products:
            for parameters in ([module.weight for module in modules], [module.bias for module in modules]):
                together = _concatenated(parameters, dtype).detach()
                self._fused[parameters[0]] = together
                parts = together.split([len(parameter) for parameter in parameters])
                self.by_parameter |= zip(parameters, parts, strict=True)

    def together(self, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """The shadow of a product's parameters, as one tensor."""
        return self._fused[parameters[0]]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy all parameters."""
        for parameter, copy in self.by_parameter.items():
            copy.copy_(parameter)


def fused_linear(
    x: torch.Tensor, modules: Sequence[nn.Linear], *, has_bias: bool, shadow: ShadowWeights | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs of several modules side by side, by one product in the format of `x`: [rows, outputs]. Its operands
    are `shadow` of the parameters, or made anew.

    And `x` for its other use: the gradients of both uses are added up by the product.
    """
    weights = [module.weight for module in modules]
    biases = [module.bias for module in modules] if has_bias else []
    output, again = _Linear.apply(x, shadow, len(modules), *weights, *biases)
    return output, again


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, shadow: ShadowWeights | None, count: int, *parameters: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        weights, biases = parameters[:count], parameters[count:]
        narrow = shadow.together if shadow else functools.partial(_concatenated, dtype=x.dtype)
        ctx.outputs = [len(part) for part in weights]
        ctx.has_bias = bool(biases)
        ctx.set_materialize_grads(False)
        weight = narrow(weights)
        ctx.save_for_backward(x, weight)
        return functional.linear(x, weight, narrow(biases) if biases else None), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        d_output, d_again = gradients[0].contiguous(), gradients[1]
        device = bindings_for(x.device)
        d_weights = device.weight_grad(d_output, x).split(ctx.outputs)
        d_biases = device.bias_grad(d_output).split(ctx.outputs) if ctx.has_bias else ()
        d_x = d_output @ weight if d_again is None else d_again.addmm_(d_output, weight)
        return d_x, None, None, *d_weights, *d_biases


def _concatenated(parts: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    own = [part.to(dtype) for part in parts]
    return torch.cat(own) if len(own) > 1 else own[0]
