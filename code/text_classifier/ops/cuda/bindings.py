"""A packed batch on a GPU: what kernels.py is on a CPU, with the same functions of the same promises.

Products of matrices are cuBLAS's; attention of short sequences, LayerNorm and GELU are in attention.cu, norm.cu,
gelu.cu and sums.cu. Nothing here waits for the GPU, and all of it can be recorded in a CUDA graph.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from text_classifier.ops.cuda.driver import capability, launch, multiprocessors
from text_classifier.ops.qkv import split_qkv

#: Threads of a block of norm.cu and gelu.cu, and rows that its warps norm at once.
THREADS, ROWS_OF_BLOCK = 128, 4

#: What attention.cu can do: tokens of a sequence, widths of a head, GPUs.
LONGEST_SEQUENCE = 128
HEAD_WIDTHS = (16, 32, 64)
AMPERE = (8, 0)

#: Threads of a block of sums.cu, and the columns that it sums.
THREADS_OF_SUMS, COLUMNS_OF_BLOCK = 256, 32

#: Blocks for each multiprocessor. Those of the gradients are fewer, because each leaves a row of sums.
BLOCKS_OF_NORM_GRADIENT = 2
BLOCKS_OF_GELU = 16
BLOCKS_OF_GELU_GRADIENT = 8


def supports_attention(qkv: torch.Tensor, head_width: int, max_seqlen: int) -> bool:
    """Whether `attention` is for such a batch."""
    is_new = capability(qkv.device) >= AMPERE
    is_short = max_seqlen <= LONGEST_SEQUENCE and head_width in HEAD_WIDTHS
    return is_new and is_short and qkv.dtype != torch.float32


def attention(
    query: torch.Tensor | None,
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    heads: int,
    probability: float,
) -> torch.Tensor:
    """Softmax attention within each sequence: [queries, width]. Weights drop out with `probability`.

    qkv [tokens, 3 * width] is the queries, keys and values of each token. With `query` [sequences, width], one
    for each sequence, it is [tokens, 2 * width], without queries. cu_seqlens: int32 [sequences + 1], first tokens.
    """
    output: torch.Tensor = _Attention.apply(query, qkv, cu_seqlens, max_seqlen, heads, probability)
    return output


def add_and_norm(
    update: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, probability: float
) -> torch.Tensor:
    """LayerNorm(residual + dropout(update + bias)): [rows, width], as update and residual are."""
    output: torch.Tensor = _AddAndNorm.apply(update, bias, residual, norm.weight, norm.bias, norm.eps, probability)
    return output


def gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """gelu(x + bias), by the normal distribution: [rows, width]."""
    output: torch.Tensor = _Gelu.apply(x, bias)
    return output


def dropout(x: torch.Tensor, probability: float) -> torch.Tensor:
    """Zero elements with `probability` and scale the rest, so that the mean stays."""
    return functional.dropout(x, probability)


def embedding(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """The rows of the table: [ids, width]. Their gradients are added up as they come, which needs no sorting."""
    return table.weight.index_select(0, ids)


def weight_grad(d_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """fp32 [outputs, inputs], from [rows, outputs] and [rows, inputs]."""
    if x.dtype == torch.float32:
        return d_output.t() @ x
    return torch.mm(d_output.t(), x, out_dtype=torch.float32)


def bias_grad(d_output: torch.Tensor) -> torch.Tensor:
    """The sum of all rows, fp32 [outputs]."""
    return d_output.sum(0, dtype=torch.float32)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor | None,
        qkv: torch.Tensor,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        heads: int,
        probability: float,
    ) -> torch.Tensor:
        qkv = qkv.contiguous()
        query = None if query is None else query.contiguous()
        parts = split_qkv(query, qkv)
        width = parts[0].shape[1] // heads
        tokens = max(16, 1 << (max_seqlen - 1).bit_length())  # as attention.cu wants it
        output = qkv.new_empty(len(parts[0]), heads * width)
        lse = qkv.new_empty(len(output), heads, dtype=torch.float32)
        dropping = _dropping(probability, qkv.device, bits=16)
        arguments = (
            parts[0].stride(0), parts[1].stride(0), cu_seqlens, heads, query is not None, width**-0.5, *dropping,
        )  # fmt: skip
        sizes = {"WIDTH": width, "TOKENS": tokens}
        launch(
            "attention_forward", qkv, sizes, ((len(cu_seqlens) - 1) * heads, 1), 2 * tokens,
            *parts, *arguments, output, lse, shared_bytes=2 * 3 * tokens * width,
        )  # fmt: skip
        ctx.save_for_backward(query, qkv, output, lse)
        ctx.arguments, ctx.sizes = arguments, sizes
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, qkv, output, lse = ctx.saved_tensors
        _, _, cu_seqlens, heads, *_ = ctx.arguments
        width, tokens = ctx.sizes["WIDTH"], ctx.sizes["TOKENS"]
        d_query = None if query is None else torch.empty_like(query)
        d_qkv = torch.empty_like(qkv)
        launch(
            "attention_backward", qkv, ctx.sizes, ((len(cu_seqlens) - 1) * heads, 1), 2 * tokens,
            *split_qkv(query, qkv), *ctx.arguments, output, lse, gradients[0].contiguous(),
            *split_qkv(d_query, d_qkv), shared_bytes=2 * (4 * tokens * width + tokens**2) + 2 * 4 * tokens,
        )  # fmt: skip
        return d_query, d_qkv, None, None, None, None


class _AddAndNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        update: torch.Tensor,
        bias: torch.Tensor,
        residual: torch.Tensor,
        norm_weight: torch.Tensor,
        norm_bias: torch.Tensor,
        epsilon: float,
        probability: float,
    ) -> torch.Tensor:
        update, residual = update.contiguous(), residual.contiguous()
        rows = len(update)
        total, output = torch.empty_like(update), torch.empty_like(update)
        mean, rstd = update.new_empty(2, rows, dtype=torch.float32)
        dropping = _dropping(probability, update.device)
        launch(
            "norm_forward", update, {"WIDTH": update.shape[1]}, (math.ceil(rows / ROWS_OF_BLOCK), 1), THREADS,
            update, bias, residual, norm_weight, norm_bias, total, output, mean, rstd, rows, epsilon, *dropping,
        )  # fmt: skip
        ctx.save_for_backward(total, mean, rstd, norm_weight)
        ctx.dropping = dropping
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        total, mean, rstd, norm_weight = ctx.saved_tensors
        rows, width = total.shape
        d_update, d_residual = torch.empty_like(total), torch.empty_like(total)
        blocks = min(math.ceil(rows / ROWS_OF_BLOCK), BLOCKS_OF_NORM_GRADIENT * multiprocessors(total.device))
        sums = norm_weight.new_empty(blocks, 3, width)
        launch(
            "norm_backward", total, {"WIDTH": width}, (blocks, 1), THREADS,
            gradients[0].contiguous(), total, mean, rstd, norm_weight, d_update, d_residual, sums, rows, *ctx.dropping,
        )  # fmt: skip
        d_norm_weight, d_norm_bias, d_bias = _sums_of_columns(sums.flatten(1)).unflatten(0, (3, width))
        return d_update, d_bias, d_residual, d_norm_weight, d_norm_bias, None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        output = torch.empty_like(x)
        strips = _strips(x, BLOCKS_OF_GELU)
        launch("gelu_forward", x, {"WIDTH": x.shape[1]}, strips, THREADS, x, bias, output, len(x))
        ctx.save_for_backward(x, bias)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, bias = ctx.saved_tensors
        d_x = torch.empty_like(x)
        strips = _strips(x, BLOCKS_OF_GELU_GRADIENT)
        sums = bias.new_empty(strips[1], x.shape[1])
        launch(
            "gelu_backward", x, {"WIDTH": x.shape[1]}, strips, THREADS,
            gradients[0].contiguous(), x, bias, d_x, sums, len(x),
        )  # fmt: skip
        return d_x, _sums_of_columns(sums)


def _sums_of_columns(rows: torch.Tensor) -> torch.Tensor:
    """fp32, of a matrix of few rows."""
    count, columns = rows.shape
    sums = rows.new_empty(columns)
    blocks = math.ceil(columns / COLUMNS_OF_BLOCK)
    launch("sums_columns", rows, {}, (blocks, 1), THREADS_OF_SUMS, rows, sums, count, columns)
    return sums


def _dropping(probability: float, device: torch.device, bits: int = 32) -> tuple[torch.Tensor | None, int, float]:
    """The seed, drawn on the GPU so that each replay of a graph has another; the threshold below which so many random
    bits drop an element; what the others are multiplied by."""
    threshold = round(probability * 2**bits)
    seed = torch.randint(1 << 62, (), device=device) if threshold else None
    return seed, threshold, 1 / (1 - threshold / 2**bits)


def _strips(x: torch.Tensor, blocks: int) -> tuple[int, int]:
    """Blocks side by side for the columns, and how many share the rows."""
    pack = 16 // x.element_size()
    across = math.ceil(x.shape[1] / (THREADS * (1 if x.shape[1] % pack else pack)))
    return across, min(len(x), math.ceil(blocks * multiprocessors(x.device) / across))
