"""The operations of a packed batch on a CPU, in kernels.cpp: attention, LayerNorm and GELU fused with their neighbors.

All are differentiable. Activations are fp32, bf16 or fp16, computed in fp32; parameters (biases, LayerNorm) are fp32.
Dropout draws its seed from torch's generator, so restoring the generator's state repeats it, and recomputes the mask in
the backward pass instead of storing it. Results do not depend on the number of threads, bit by bit.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from text_classifier.contract.errors import SettingsError
from text_classifier.ops.compile import PROCESSORS, library_path
from text_classifier.ops.qkv import split_qkv

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def attention(
    query: Tensor | None, qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, heads: int, dropout_p: float
) -> Tensor:
    """Softmax attention within each sequence, with dropout of the probabilities: [queries, width].

    qkv: [tokens, 3 * width], queries, keys and values side by side. With `query` [sequences, width], one query per
    sequence, it is [tokens, 2 * width]: keys and values. cu_seqlens: int32 [sequences + 1].
    """
    return _Attention.apply(query, qkv, cu_seqlens, max_seqlen, heads, dropout_p)


def add_and_norm(update: Tensor, bias: Tensor, residual: Tensor, norm: nn.LayerNorm, dropout_p: float) -> Tensor:
    """LayerNorm(residual + dropout(update + bias)); update, residual and result [rows, width]."""
    return _AddAndNorm.apply(update, bias, residual, norm.weight, norm.bias, norm.eps, dropout_p)


def gelu(x: Tensor, bias: Tensor) -> Tensor:
    """gelu(x + bias), without the tanh approximation: [rows, width]."""
    return _Gelu.apply(x, bias)


def dropout(x: Tensor, dropout_p: float) -> Tensor:
    """As torch.nn.functional.dropout in training."""
    return _Dropout.apply(x, dropout_p) if dropout_p else x


def embedding(table: nn.Embedding, ids: Tensor) -> Tensor:
    """The rows of the table: [ids, width]."""
    return table(ids)


def weight_grad(d_output: Tensor, x: Tensor) -> Tensor:
    """d_output^T @ x: float32 [outputs, inputs], from [rows, outputs] and [rows, inputs].

    torch's bf16 matmul with a transposed left operand runs at a third of the speed of kernels.cpp's with AMX.
    """
    if x.dtype != torch.bfloat16 or not _has_amx():
        return (d_output.t() @ x).float()
    gradient = torch.empty(d_output.shape[1], x.shape[1])
    _kernel("weight_grad", x.dtype)(d_output, x, gradient, *d_output.shape, x.shape[1])
    return gradient


def bias_grad(d_output: Tensor) -> Tensor:
    """The sum of d_output [rows, outputs] over its rows: float32 [outputs]."""
    gradient = torch.empty(d_output.shape[1])
    _kernel("sum_rows", d_output.dtype)(d_output, gradient, *d_output.shape)
    return gradient


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor | None, qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, heads: int, dropout_p: float
    ) -> Tensor:
        qkv = qkv.contiguous()
        query = None if query is None else query.contiguous()
        parts = split_qkv(query, qkv)
        width = parts[0].shape[1]
        output = qkv.new_empty(len(parts[0]), width)
        lse = torch.empty(len(output), heads)
        head_width = width // heads
        arguments = (
            cu_seqlens, len(cu_seqlens) - 1, max_seqlen, heads, head_width, query is not None, head_width**-0.5,
            _seed(dropout_p), dropout_p,
        )  # fmt: skip
        strides = parts[0].stride(0), parts[1].stride(0)
        _kernel("attention_forward", qkv.dtype)(*parts, *strides, *arguments, output, lse)
        ctx.save_for_backward(query, qkv, output, lse)
        ctx.arguments = *strides, *arguments
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, qkv, output, lse = ctx.saved_tensors
        d_query = None if query is None else torch.empty_like(query)
        d_qkv = torch.empty_like(qkv)
        _kernel("attention_backward", qkv.dtype)(
            *split_qkv(query, qkv), *ctx.arguments, output, lse, gradients[0].contiguous(),
            *split_qkv(d_query, d_qkv),
        )  # fmt: skip
        return d_query, d_qkv, None, None, None, None


class _AddAndNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        update: Tensor,
        bias: Tensor,
        residual: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        epsilon: float,
        dropout_p: float,
    ) -> Tensor:
        update, residual = update.contiguous(), residual.contiguous()
        total, output = torch.empty_like(update), torch.empty_like(update)
        mean, rstd = torch.empty(len(update)), torch.empty(len(update))
        seed = _seed(dropout_p)
        _kernel("norm_forward", update.dtype)(
            update, bias, residual, norm_weight, norm_bias, total, output, mean, rstd,
            *update.shape, epsilon, seed, dropout_p,
        )  # fmt: skip
        ctx.save_for_backward(total, mean, rstd, norm_weight)
        ctx.dropout = seed, dropout_p
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total, mean, rstd, norm_weight = ctx.saved_tensors
        d_update, d_residual = torch.empty_like(total), torch.empty_like(total)
        d_norm_weight, d_norm_bias, d_bias = (torch.empty_like(norm_weight) for _ in range(3))
        _kernel("norm_backward", total.dtype)(
            gradients[0].contiguous(), total, mean, rstd, norm_weight,
            d_update, d_residual, d_norm_weight, d_norm_bias, d_bias,
            *total.shape, *ctx.dropout,
        )  # fmt: skip
        return d_update, d_bias, d_residual, d_norm_weight, d_norm_bias, None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous()
        output = torch.empty_like(x)
        _kernel("gelu_forward", x.dtype)(x, bias, output, *x.shape)
        ctx.save_for_backward(x, bias)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, bias = ctx.saved_tensors
        d_x, d_bias = torch.empty_like(x), torch.empty_like(bias)
        _kernel("gelu_backward", x.dtype)(gradients[0].contiguous(), x, bias, d_x, d_bias, *x.shape)
        return d_x, d_bias


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout_p: float) -> Tensor:
        ctx.dropout = _seed(dropout_p), dropout_p
        return _dropped(x, *ctx.dropout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _dropped(gradients[0], *ctx.dropout), None


def _dropped(x: Tensor, seed: int, dropout_p: float) -> Tensor:
    x = x.contiguous()
    output = torch.empty_like(x)
    _kernel("dropout", x.dtype)(x, output, x.numel(), seed, dropout_p)
    return output


def _has_amx() -> bool:
    return hasattr(_library(), "weight_grad_bf16")


def _seed(dropout_p: float) -> int:
    return int(torch.randint(1 << 62, ()).item()) if dropout_p else 0


def _kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """The library's function for a dtype. It takes contiguous tensors, ints and floats.

    Arguments are passed by their Python type, as pointer, int64 and float: nothing checks that the C++ function agrees.
    """
    function = getattr(_library(), f"{name}_{_NAMES[dtype]}")

    def call(*arguments: Tensor | int | float) -> None:
        function(*(_argument(argument) for argument in arguments))

    return call


def _argument(value: Tensor | int | float) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int64(value)


def runnable() -> list[str]:
    """The entries of PROCESSORS that this processor can run, the fastest first."""
    required = {"amx": "amx_bf16", "avx512": "avx512_f", "avx2": "avx2"}
    capabilities = torch.cpu.get_capabilities()
    return [processor for processor in PROCESSORS if capabilities.get(required[processor])]


@functools.cache
def _library() -> ctypes.CDLL:
    """The fastest library that this processor can run. Raises SettingsError when there is none."""
    for processor in runnable():
        library = ctypes.CDLL(str(library_path(f"kernels-{processor}")))
        if library.prepare():
            return library
    raise SettingsError("this processor has no AVX2, which training on a CPU needs; train on another machine")
