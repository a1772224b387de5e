"""Fused linear layers: in 16 bits, with float32 gradients of the weights; outside training with prepacked weights."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from text_classifier.ops.backend import Backend

#: Rows up to which matmuls with prepacked weights are faster than torch's own, by dtype. A bf16 matmul of torch packs
#: the weights each time: with AMX it takes up to 1.8 times as long, and about as long from 2,000 rows on.
PREPACKED_ROWS = {torch.float32: 64, torch.bfloat16: sys.maxsize, torch.float16: 0}

#: They are padded to a multiple of this number of rows: oneDNN keeps up to 1 MB of code for each number.
ROW_STEP = 8


class ShadowWeights:
    """Copies, in one dtype, of the weights and biases of linear modules; those of a fused group share one tensor.

    Whoever changes a parameter must update its copy, in `by_parameter`, or call `refresh`.
    """

    def __init__(self, groups: Iterable[Sequence[nn.Linear]], dtype: torch.dtype) -> None:
        self.by_parameter: dict[Tensor, Tensor] = {}  #: views of the fused tensors
        self._fused: dict[Tensor, Tensor] = {}  #: by the group's first parameter
        for modules in groups:
            for parameters in ([module.weight for module in modules], [module.bias for module in modules]):
                fused = _concatenated(parameters, dtype).detach()
                self._fused[parameters[0]] = fused
                parts = fused.split([len(parameter) for parameter in parameters])
                self.by_parameter |= zip(parameters, parts, strict=True)

    def fused(self, parameters: Sequence[Tensor]) -> Tensor:
        """The copies of a group's weights, or of its biases, as one tensor."""
        return self._fused[parameters[0]]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy all parameters."""
        for parameter, copy in self.by_parameter.items():
            copy.copy_(parameter)


class PrepackedWeights:
    """Copies, in one dtype, of the weights of linear modules in oneDNN's own layout, for matmuls on a CPU.

    They have no gradients. The operators are those of torch.compile. torch's own float32 matmul is MKL's: for the 24
    tokens of a text in MiniLM it takes a third longer with AVX2, and twice as long with AVX-512 (EPYC of family 26).
    """

    def __init__(self, groups: Iterable[Sequence[nn.Linear]], dtype: torch.dtype) -> None:
        self._fused: dict[Tensor, tuple[Tensor, Tensor]] = {}  #: weight and bias by the group's first weight
        for modules in groups:
            weight = _concatenated([module.weight for module in modules], dtype).detach()
            bias = _concatenated([module.bias for module in modules], dtype).detach()
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
            self._fused[modules[0].weight] = packed, bias

    def linear(self, x: Tensor, modules: Sequence[nn.Linear], *, has_bias: bool) -> Tensor:
        """The outputs of a group's modules side by side: [rows, outputs]."""
        weight, bias = self._fused[modules[0].weight]
        rows = x.shape[0]  # len() of a tensor takes ten times as long
        if rows % ROW_STEP:
            x = functional.pad(x, (0, 0, 0, -rows % ROW_STEP))
        output: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias if has_bias else None, "none", [], "")
        return output[:rows]


def embedding(table: nn.Embedding, ids: Tensor) -> Tensor:
    """The rows of the table: [ids, width].

    On a GPU the backward pass of index_select adds atomically, in any order, where that of nn.Embedding sorts the ids.
    """
    return table.weight.index_select(0, ids) if ids.is_cuda else table(ids)


def fused_linear(
    ops: Backend, x: Tensor, modules: Sequence[nn.Linear], *, has_bias: bool, shadow: ShadowWeights | None = None
) -> tuple[Tensor, Tensor]:
    """The outputs of several linear modules side by side, from one GEMM in the dtype of `x`: [rows, outputs].

    The operands are the `shadow` of the parameters, or are cast now. Also returns `x`, for the residual branch: the
    gradients of both uses are then accumulated in one GEMM.
    """
    weights = [module.weight for module in modules]
    biases = [module.bias for module in modules] if has_bias else []
    if not torch.is_grad_enabled():
        fused = _fused(shadow, x.dtype)
        return functional.linear(x, fused(weights), fused(biases) if biases else None), x
    return _Linear.apply(ops, x, shadow, len(modules), *weights, *biases)


def _fused(shadow: ShadowWeights | None, dtype: torch.dtype) -> Callable[[Sequence[Tensor]], Tensor]:
    """What gives the copies of parameters as one tensor."""
    return shadow.fused if shadow else functools.partial(_concatenated, dtype=dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ops: Backend, x: Tensor, shadow: ShadowWeights | None, count: int, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        weights, biases = parameters[:count], parameters[count:]
        fused = _fused(shadow, x.dtype)
        ctx.ops = ops
        ctx.outputs = [len(part) for part in weights]
        ctx.has_bias = bool(biases)
        ctx.set_materialize_grads(False)
        weight = fused(weights)
        ctx.save_for_backward(x, weight)
        return functional.linear(x, weight, fused(biases) if biases else None), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        d_output, d_residual = gradients[0].contiguous(), gradients[1]
        d_weights = ctx.ops.weight_grad(d_output, x).split(ctx.outputs)
        d_biases = ctx.ops.bias_grad(d_output).split(ctx.outputs) if ctx.has_bias else ()
        d_x = d_output @ weight if d_residual is None else d_residual.addmm_(d_output, weight)
        return None, d_x, None, None, *d_weights, *d_biases


def _concatenated(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    cast = [part.to(dtype) for part in parts]
    return torch.cat(cast) if len(cast) > 1 else cast[0]
