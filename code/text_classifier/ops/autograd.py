"""The gradients of native operations: torch.autograd Functions over the forward and backward passes of a back end.

Without gradients the forward passes are called directly: the Functions take a fifth of the time of a single text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from text_classifier.ops.dropout import Dropout
from text_classifier.ops.sequences import Sequences

#: (query, qkv, sequences, heads, dropout) to the output and the logsumexp of the scores. Tensors are contiguous.
AttentionForward = Callable[[Tensor | None, Tensor, Sequences, int, Dropout], tuple[Tensor, Tensor]]
#: (d_output, query, qkv, output, logsumexp, sequences, heads, dropout) to the gradients of query and qkv.
AttentionBackward = Callable[
    [Tensor, Tensor | None, Tensor, Tensor, Tensor, Sequences, int, Dropout], tuple[Tensor | None, Tensor]
]
#: (update, bias, residual, norm_weight, norm_bias, epsilon, dropout) to output, sum, mean and rstd.
NormForward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float, Dropout], tuple[Tensor, Tensor, Tensor, Tensor]]
#: (d_output, sum, mean, rstd, norm_weight, dropout) to the gradients of update, bias, residual, norm_weight, norm_bias.
NormBackward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Dropout], tuple[Tensor, ...]]
#: (x, bias) to the output.
GeluForward = Callable[[Tensor, Tensor], Tensor]
#: (d_output, x, bias) to the gradients of x and bias.
GeluBackward = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
#: (x, dropout) to the output; also the gradient, of that of the output.
Dropped = Callable[[Tensor, Dropout], Tensor]


def attention(
    forward: AttentionForward, backward: AttentionBackward
) -> Callable[[Tensor | None, Tensor, Sequences, int, float], Tensor]:
    """Backend.attention."""

    def attend(query: Tensor | None, qkv: Tensor, sequences: Sequences, heads: int, dropout_p: float) -> Tensor:
        # A head of a sequence has two numbers in kernels.cpp, from which its random bits come.
        dropout = Dropout.draw(dropout_p, qkv.device).shifted(2 * heads * sequences.place.rows)
        query, qkv = None if query is None else query.contiguous(), qkv.contiguous()
        if not torch.is_grad_enabled():
            return forward(query, qkv, sequences, heads, dropout)[0]
        return _Attention.apply(forward, backward, query, qkv, sequences, heads, dropout)

    return attend


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, forward: AttentionForward, backward: AttentionBackward, query: Tensor | None, qkv: Tensor, *rest: Any
    ) -> Tensor:
        output, lse = forward(query, qkv, *rest)
        ctx.save_for_backward(query, qkv, output, lse)
        ctx.native, ctx.rest = backward, rest
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.native(gradients[0].contiguous(), *ctx.saved_tensors, *ctx.rest)
        return None, None, *found, None, None, None


def add_and_norm(forward: NormForward, backward: NormBackward) -> Callable[..., Tensor]:
    """Backend.add_and_norm."""

    def add(
        update: Tensor, bias: Tensor, residual: Tensor, norm: nn.LayerNorm, dropout_p: float, rows_before: int = 0
    ) -> Tensor:
        dropout = Dropout.draw(dropout_p, update.device).shifted(rows_before * update.shape[1])
        arguments = update.contiguous(), bias, residual.contiguous(), norm.weight, norm.bias, norm.eps, dropout
        return _AddAndNorm.apply(forward, backward, *arguments) if torch.is_grad_enabled() else forward(*arguments)[0]

    return add


class _AddAndNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: NormForward, backward: NormBackward, *arguments: Any) -> Tensor:
        output, *saved = forward(*arguments)
        ctx.save_for_backward(*saved, arguments[3])  # norm_weight
        ctx.native, ctx.dropout = backward, arguments[-1]
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.native(gradients[0].contiguous(), *ctx.saved_tensors, ctx.dropout)
        return None, None, *found, None, None


def gelu(forward: GeluForward, backward: GeluBackward) -> Callable[[Tensor, Tensor], Tensor]:
    """Backend.gelu."""

    def activate(x: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous()
        return _Gelu.apply(forward, backward, x, bias) if torch.is_grad_enabled() else forward(x, bias)

    return activate


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: GeluForward, backward: GeluBackward, x: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, bias)
        ctx.native = backward
        return forward(x, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.native(gradients[0].contiguous(), *ctx.saved_tensors)


def dropout(dropped: Dropped) -> Callable[..., Tensor]:
    """Backend.dropout."""

    def drop(x: Tensor, dropout_p: float, rows_before: int = 0) -> Tensor:
        dropout = Dropout.draw(dropout_p, x.device).shifted(rows_before * x.shape[1])
        return _Dropout.apply(dropped, x, dropout) if dropout_p else x

    return drop


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dropped: Dropped, x: Tensor, dropout: Dropout) -> Tensor:
        ctx.dropped, ctx.dropout = dropped, dropout
        return dropped(x.contiguous(), dropout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.dropped(gradients[0].contiguous(), ctx.dropout), None
