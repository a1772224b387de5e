"""The operations of a packed batch on a GPU: the functions of cpu/bindings.py.

Matmuls are cuBLAS's; attention for short sequences, LayerNorm and GELU are in attention.cu, norm.cu, gelu.cu and
sums.cu. Nothing here synchronizes with the GPU, so all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from text_classifier.ops.cuda.constants import CONSTANTS, WARP
from text_classifier.ops.cuda.driver import capability, launch, multiprocessors
from text_classifier.ops.qkv import split_qkv

#: Limits of attention.cu: tokens per sequence, head widths, compute capability (Ampere).
MAX_SEQLEN = 128
HEAD_WIDTHS = (16, 32, 64)
MIN_CAPABILITY = (8, 0)

#: norm.cu computes a row per warp.
ROWS_PER_BLOCK = CONSTANTS["norm"]["THREADS"] // WARP

#: Blocks per multiprocessor. The backward passes take fewer, because each block leaves a row of partial sums.
NORM_BACKWARD_BLOCKS = 2
GELU_FORWARD_BLOCKS = 16
GELU_BACKWARD_BLOCKS = 8


def supports_attention(qkv: Tensor, head_width: int, max_seqlen: int) -> bool:
    """Whether `attention` can compute this batch."""
    is_short = max_seqlen <= MAX_SEQLEN and head_width in HEAD_WIDTHS
    return is_short and qkv.dtype != torch.float32 and capability(qkv.device) >= MIN_CAPABILITY


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
    return functional.dropout(x, dropout_p)


def embedding(table: nn.Embedding, ids: Tensor) -> Tensor:
    """The rows of the table: [ids, width]. index_select's backward uses atomic adds; nn.Embedding's sorts the ids."""
    return table.weight.index_select(0, ids)


def weight_grad(d_output: Tensor, x: Tensor) -> Tensor:
    """d_output^T @ x: float32 [outputs, inputs], from [rows, outputs] and [rows, inputs]."""
    if x.dtype == torch.float32:
        return d_output.t() @ x
    return torch.mm(d_output.t(), x, out_dtype=torch.float32)


def bias_grad(d_output: Tensor) -> Tensor:
    """The sum of d_output [rows, outputs] over its rows: float32 [outputs]."""
    return d_output.sum(0, dtype=torch.float32)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor | None, qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, heads: int, dropout_p: float
    ) -> Tensor:
        qkv = qkv.contiguous()
        query = None if query is None else query.contiguous()
        parts = split_qkv(query, qkv)
        width = parts[0].shape[1] // heads
        tokens = max(16, 1 << (max_seqlen - 1).bit_length())  # attention.cu is compiled for powers of two
        output = qkv.new_empty(len(parts[0]), heads * width)
        lse = qkv.new_empty(len(output), heads, dtype=torch.float32)
        arguments = (
            parts[0].stride(0), parts[1].stride(0), cu_seqlens, heads, query is not None, width**-0.5,
            *_dropout_arguments(dropout_p, qkv.device, bits=16),
        )  # fmt: skip
        sizes = {"WIDTH": width, "TOKENS": tokens}
        launch(
            "attention_forward", (*parts, *arguments, output, lse), like=qkv, sizes=sizes,
            grid=((len(cu_seqlens) - 1) * heads, 1), threads=2 * tokens,
            shared_bytes=2 * 3 * tokens * width,  # attention.cu: q, k, v
        )  # fmt: skip
        ctx.save_for_backward(query, qkv, output, lse)
        ctx.arguments, ctx.sizes = arguments, sizes
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, qkv, output, lse = ctx.saved_tensors
        _, _, cu_seqlens, heads, *_ = ctx.arguments
        width, tokens = ctx.sizes["WIDTH"], ctx.sizes["TOKENS"]
        d_query = None if query is None else torch.empty_like(query)
        d_qkv = torch.empty_like(qkv)
        launch(
            "attention_backward",
            (
                *split_qkv(query, qkv), *ctx.arguments, output, lse, gradients[0].contiguous(),
                *split_qkv(d_query, d_qkv),
            ),
            like=qkv, sizes=ctx.sizes, grid=((len(cu_seqlens) - 1) * heads, 1), threads=2 * tokens,
            shared_bytes=2 * (4 * tokens * width + tokens**2) + 2 * 4 * tokens,  # q, k, v, d_o, d_scores; lse, delta
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
        rows = len(update)
        total, output = torch.empty_like(update), torch.empty_like(update)
        mean, rstd = update.new_empty(2, rows, dtype=torch.float32)
        dropout = _dropout_arguments(dropout_p, update.device)
        launch(
            "norm_forward",
            (update, bias, residual, norm_weight, norm_bias, total, output, mean, rstd, rows, epsilon, *dropout),
            like=update, sizes={"WIDTH": update.shape[1]}, grid=(math.ceil(rows / ROWS_PER_BLOCK), 1),
            threads=CONSTANTS["norm"]["THREADS"],
        )  # fmt: skip
        ctx.save_for_backward(total, mean, rstd, norm_weight)
        ctx.dropout = dropout
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total, mean, rstd, norm_weight = ctx.saved_tensors
        rows, width = total.shape
        d_update, d_residual = torch.empty_like(total), torch.empty_like(total)
        blocks = min(math.ceil(rows / ROWS_PER_BLOCK), NORM_BACKWARD_BLOCKS * multiprocessors(total.device))
        sums = norm_weight.new_empty(blocks, 3, width)
        launch(
            "norm_backward",
            (
                gradients[0].contiguous(), total, mean, rstd, norm_weight, d_update, d_residual, sums, rows,
                *ctx.dropout,
            ),
            like=total, sizes={"WIDTH": width}, grid=(blocks, 1), threads=CONSTANTS["norm"]["THREADS"],
        )  # fmt: skip
        d_norm_weight, d_norm_bias, d_bias = _column_sums(sums.flatten(1)).unflatten(0, (3, width))
        return d_update, d_bias, d_residual, d_norm_weight, d_norm_bias, None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous()
        output = torch.empty_like(x)
        _launch_gelu("gelu_forward", (x, bias, output, len(x)), _gelu_grid(x, GELU_FORWARD_BLOCKS), x)
        ctx.save_for_backward(x, bias)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, bias = ctx.saved_tensors
        d_x = torch.empty_like(x)
        grid = _gelu_grid(x, GELU_BACKWARD_BLOCKS)
        sums = bias.new_empty(grid[1], x.shape[1])
        _launch_gelu("gelu_backward", (gradients[0].contiguous(), x, bias, d_x, sums, len(x)), grid, x)
        return d_x, _column_sums(sums)


def _launch_gelu(name: str, arguments: Sequence[Tensor | int], grid: tuple[int, int], x: Tensor) -> None:
    launch(name, arguments, like=x, sizes={"WIDTH": x.shape[1]}, grid=grid, threads=CONSTANTS["gelu"]["THREADS"])


def _gelu_grid(x: Tensor, blocks_per_multiprocessor: int) -> tuple[int, int]:
    """Blocks over the columns, and blocks that share the rows."""
    pack = 16 // x.element_size()
    across = math.ceil(x.shape[1] / (CONSTANTS["gelu"]["THREADS"] * (1 if x.shape[1] % pack else pack)))
    return across, min(len(x), math.ceil(blocks_per_multiprocessor * multiprocessors(x.device) / across))


def _column_sums(rows: Tensor) -> Tensor:
    """The sums over the rows of a float32 matrix with few rows."""
    count, columns = rows.shape
    sums = rows.new_empty(columns)
    grid, threads = (math.ceil(columns / WARP), 1), CONSTANTS["sums"]["THREADS"]
    launch("sums_columns", (rows, sums, count, columns), like=rows, grid=grid, threads=threads)
    return sums


def _dropout_arguments(dropout_p: float, device: torch.device, bits: int = 32) -> tuple[Tensor | None, int, float]:
    """Seed, threshold and scale of the kernels' Dropout: elements whose random `bits` are below the threshold become 0.

    The seed is drawn on the GPU, so that each replay of a CUDA graph has another.
    """
    threshold = round(dropout_p * 2**bits)
    seed = torch.randint(1 << 62, (), device=device) if threshold else None
    return seed, threshold, 1 / (1 - threshold / 2**bits)
