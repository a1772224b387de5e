"""The operations of a packed batch on a CPU, in kernels.cpp: attention, LayerNorm and GELU fused with their neighbors.

Dropout recomputes its mask in the backward pass instead of storing it. Results do not depend on the number of threads,
bit by bit.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from text_classifier.ops import autograd
from text_classifier.ops.backend import TORCH, Backend
from text_classifier.ops.compile import library_path
from text_classifier.ops.dropout import Dropout
from text_classifier.ops.processor import instruction_sets
from text_classifier.ops.sequences import Sequences, split_qkv

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def backend(plain: Backend, dtype: torch.dtype) -> Backend:
    """`plain` with the operations that kernels.cpp has. Raises OSError or RuntimeError if there is no library."""
    processor, _ = _library()
    native = replace(
        plain, fallback=plain,
        attention=autograd.attention(attention_forward, attention_backward),
        add_and_norm=autograd.add_and_norm(norm_forward, norm_backward),
        gelu=autograd.gelu(gelu_forward, gelu_backward),
        dropout=autograd.dropout(dropped), bias_grad=bias_grad,
    )  # fmt: skip
    if dtype == torch.bfloat16 and processor == "amx":
        native = replace(native, weight_grad=weight_grad)
    names = {name: TORCH if getattr(native, name) is getattr(plain, name) else processor for name in plain.names}
    return replace(native, names=names)


def attention_forward(
    query: Tensor | None, qkv: Tensor, sequences: Sequences, heads: int, dropout: Dropout
) -> tuple[Tensor, Tensor]:
    """As autograd.AttentionForward."""
    parts = split_qkv(query, qkv)
    output, lse = qkv.new_empty(parts[0].shape), torch.empty(parts[0].shape[0], heads)
    arguments = _attention_arguments(query, parts, sequences, heads, dropout)
    _kernel("attention_forward", qkv.dtype)(*parts, *arguments, output, lse)
    return output, lse


def attention_backward(
    d_output: Tensor, query: Tensor | None, qkv: Tensor, output: Tensor, lse: Tensor, sequences: Sequences, heads: int,
    dropout: Dropout,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """As autograd.AttentionBackward."""
    d_query, d_qkv = None if query is None else torch.empty_like(query), torch.empty_like(qkv)
    parts = split_qkv(query, qkv)
    arguments = _attention_arguments(query, parts, sequences, heads, dropout)
    gradients = split_qkv(d_query, d_qkv)
    _kernel("attention_backward", qkv.dtype)(*parts, *arguments, output, lse, d_output, *gradients)
    return d_query, d_qkv


def _attention_arguments(
    query: Tensor | None, parts: tuple[Tensor, ...], sequences: Sequences, heads: int, dropout: Dropout
) -> tuple[Tensor | int | float, ...]:
    head_width = parts[0].shape[1] // heads
    return (
        parts[0].stride(0), parts[1].stride(0), sequences.cu_seqlens, sequences.cu_seqlens.shape[0] - 1,
        sequences.max_seqlen, heads, head_width, query is not None, head_width**-0.5, *_seed_and_probability(dropout),
    )  # fmt: skip


def norm_forward(
    update: Tensor, bias: Tensor, residual: Tensor, norm_weight: Tensor, norm_bias: Tensor, epsilon: float,
    dropout: Dropout,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As autograd.NormForward."""
    rows, width = update.shape
    total, output, mean, rstd = torch.empty_like(update), torch.empty_like(update), torch.empty(rows), torch.empty(rows)
    _kernel("norm_forward", update.dtype)(
        update, bias, residual, norm_weight, norm_bias, total, output, mean, rstd, rows, width, epsilon,
        *_seed_and_probability(dropout),
    )  # fmt: skip
    return output, total, mean, rstd


def norm_backward(
    d_output: Tensor, total: Tensor, mean: Tensor, rstd: Tensor, norm_weight: Tensor, dropout: Dropout
) -> tuple[Tensor, ...]:
    """As autograd.NormBackward."""
    d_update, d_residual = torch.empty_like(total), torch.empty_like(total)
    d_norm_weight, d_norm_bias, d_bias = (torch.empty_like(norm_weight) for _ in range(3))
    _kernel("norm_backward", total.dtype)(
        d_output, total, mean, rstd, norm_weight, d_update, d_residual, d_norm_weight, d_norm_bias, d_bias,
        *total.shape, *_seed_and_probability(dropout),
    )  # fmt: skip
    return d_update, d_bias, d_residual, d_norm_weight, d_norm_bias


def gelu_forward(x: Tensor, bias: Tensor) -> Tensor:
    """As autograd.GeluForward."""
    output = torch.empty_like(x)
    _kernel("gelu_forward", x.dtype)(x, bias, output, *x.shape)
    return output


def gelu_backward(d_output: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """As autograd.GeluBackward."""
    d_x, d_bias = torch.empty_like(x), torch.empty_like(bias)
    _kernel("gelu_backward", x.dtype)(d_output, x, bias, d_x, d_bias, *x.shape)
    return d_x, d_bias


def dropped(x: Tensor, dropout: Dropout) -> Tensor:
    """As autograd.Dropped."""
    output = torch.empty_like(x)
    _kernel("dropout", x.dtype)(x, output, x.numel(), *_seed_and_probability(dropout))
    return output


def weight_grad(d_output: Tensor, x: Tensor) -> Tensor:
    """As Backend.weight_grad, with AMX: torch's bf16 matmul with a transposed left operand has a third of the speed."""
    gradient = torch.empty(d_output.shape[1], x.shape[1])
    _kernel("weight_grad", x.dtype)(d_output, x, gradient, *d_output.shape, x.shape[1])
    return gradient


def bias_grad(d_output: Tensor) -> Tensor:
    """As Backend.bias_grad."""
    gradient = torch.empty(d_output.shape[1])
    _kernel("sum_rows", d_output.dtype)(d_output, gradient, *d_output.shape)
    return gradient


def _seed_and_probability(dropout: Dropout) -> tuple[int, float]:
    return 0 if dropout.seed is None else int(dropout.seed), dropout.threshold / (1 << 16)


def _kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """The library's function for a dtype. It takes tensors in the layout that it expects, ints and floats.

    Arguments are passed by their Python type, as pointer, int64 and float: nothing checks that the C++ function agrees.
    """
    function = getattr(_library()[1], f"{name}_{_NAMES[dtype]}")

    def call(*arguments: Tensor | int | float) -> None:
        if function.argtypes is None:
            function.argtypes = [_type_of(argument) for argument in arguments]
        function(*[argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments])

    return call


def _type_of(argument: Tensor | int | float) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p
    return ctypes.c_float if isinstance(argument, float) else ctypes.c_int64


@functools.cache
def _library() -> tuple[str, ctypes.CDLL]:
    """The fastest library that this processor can run, and its name. Raises OSError or RuntimeError."""
    for processor in instruction_sets():
        library = ctypes.CDLL(str(library_path(f"kernels-{processor}")))
        if library.prepare():
            return processor, library
    raise RuntimeError("this processor has no AVX2")
