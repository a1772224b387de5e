"""The operations of a packed batch on a GPU: attention for short sequences, LayerNorm, GELU and AdamW.

They are in attention.cu, norm.cu, gelu.cu, sums.cu and adamw.cu; torch has the others. Nothing here synchronizes with
the GPU, so all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from text_classifier.ops import autograd
from text_classifier.ops.backend import TORCH, Backend
from text_classifier.ops.cuda.adamw import AdamW
from text_classifier.ops.cuda.constants import CONSTANTS, WARP
from text_classifier.ops.cuda.driver import capability, launch, multiprocessors
from text_classifier.ops.dropout import Dropout, Probabilities, random_bits
from text_classifier.ops.sequences import Sequences, split_qkv

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


def backend(
    plain: Backend, device: torch.device, dtype: torch.dtype, head_width: int | None, max_seqlen: int = MAX_SEQLEN
) -> Backend:
    """`plain` with the operations that have a kernel for this GPU. Kernels are compiled on first use.

    `max_seqlen`: of the split with the shortest rows. Attention has a kernel if it can be used for that one.
    """
    native = replace(
        plain, fallback=plain, attention_bits=attention_bits, adamw=AdamW,
        add_and_norm=autograd.add_and_norm(norm_forward, norm_backward),
        gelu=autograd.gelu(gelu_forward, gelu_backward),
    )  # fmt: skip
    has_kernel = dtype != torch.float32 and head_width in HEAD_WIDTHS and max_seqlen <= MAX_SEQLEN
    if has_kernel and capability(device) >= MIN_CAPABILITY:
        own = autograd.attention(attention_forward, attention_backward)

        def attention(query: Tensor | None, qkv: Tensor, sequences: Sequences, heads: int, dropout_p: float) -> Tensor:
            attend = own if sequences.max_seqlen <= MAX_SEQLEN else plain.attention
            return attend(query, qkv, sequences, heads, dropout_p)

        native = replace(native, attention=attention)
    names = {name: TORCH if getattr(native, name) is getattr(plain, name) else "cuda" for name in plain.names}
    return replace(native, names=names)


def attention_forward(
    query: Tensor | None, qkv: Tensor, sequences: Sequences, heads: int, dropout: Dropout
) -> tuple[Tensor, Tensor]:
    """As autograd.AttentionForward."""
    parts = split_qkv(query, qkv)
    output = qkv.new_empty(parts[0].shape)
    lse = qkv.new_empty(len(output), heads, dtype=torch.float32)
    width, tokens = parts[0].shape[1] // heads, _tokens(sequences.max_seqlen)
    arguments = _attention_arguments(query, parts, sequences, heads, dropout)
    launch(
        "attention_forward", (*parts, *arguments, output, lse), like=qkv, sizes={"WIDTH": width, "TOKENS": tokens},
        grid=((len(sequences.cu_seqlens) - 1) * heads, 1), threads=2 * tokens,
        shared_bytes=2 * 3 * tokens * width,  # attention.cu: q, k, v
    )  # fmt: skip
    return output, lse


def attention_backward(
    d_output: Tensor, query: Tensor | None, qkv: Tensor, output: Tensor, lse: Tensor, sequences: Sequences, heads: int,
    dropout: Dropout,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """As autograd.AttentionBackward."""
    parts = split_qkv(query, qkv)
    d_query, d_qkv = None if query is None else torch.empty_like(query), torch.empty_like(qkv)
    width, tokens = parts[0].shape[1] // heads, _tokens(sequences.max_seqlen)
    arguments = _attention_arguments(query, parts, sequences, heads, dropout)
    launch(
        "attention_backward", (*parts, *arguments, output, lse, d_output, *split_qkv(d_query, d_qkv)),
        like=qkv, sizes={"WIDTH": width, "TOKENS": tokens},
        grid=((len(sequences.cu_seqlens) - 1) * heads, 1), threads=2 * tokens,
        shared_bytes=2 * (4 * tokens * width + tokens**2) + 2 * 4 * tokens,  # q, k, v, d_o, d_scores; lse, delta
    )  # fmt: skip
    return d_query, d_qkv


def _attention_arguments(
    query: Tensor | None, parts: tuple[Tensor, ...], sequences: Sequences, heads: int, dropout: Dropout
) -> tuple[Tensor | int | float | None, ...]:
    return (
        parts[0].stride(0), parts[1].stride(0), sequences.cu_seqlens, heads, query is not None,
        (parts[0].shape[1] // heads) ** -0.5, *_dropout_arguments(dropout),
    )  # fmt: skip


def _tokens(max_seqlen: int) -> int:
    """The longest sequence that attention.cu is compiled for: powers of two."""
    return max(16, 1 << (max_seqlen - 1).bit_length())


def attention_bits(dropout: Dropout, of: Probabilities) -> Tensor:
    """As dropout.AttentionBits. 32 bits for each key and two queries, 8 rows apart."""
    device = of.first_query.device
    queries, heads, keys = (
        torch.arange(count, dtype=torch.int32, device=device) for count in (of.queries, of.heads, of.keys)
    )
    is_upper = (queries % 16 >= 8)[:, None]
    rows = of.first_query[:, None, None, None] + queries[:, None] - 8 * is_upper.int()
    index = (rows * of.heads + heads[:, None, None]) * _tokens(of.max_seqlen) + keys
    bits = random_bits(*dropout.key, index)
    return torch.where(is_upper, bits >> 16, bits)


def norm_forward(
    update: Tensor, bias: Tensor, residual: Tensor, norm_weight: Tensor, norm_bias: Tensor, epsilon: float,
    dropout: Dropout,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As autograd.NormForward."""
    rows = len(update)
    total, output = torch.empty_like(update), torch.empty_like(update)
    mean, rstd = update.new_empty(2, rows, dtype=torch.float32)
    launch(
        "norm_forward",
        (
            update, bias, residual, norm_weight, norm_bias, total, output, mean, rstd, rows, epsilon,
            *_dropout_arguments(dropout),
        ),
        like=update, sizes={"WIDTH": update.shape[1]}, grid=(math.ceil(rows / ROWS_PER_BLOCK), 1),
        threads=CONSTANTS["norm"]["THREADS"],
    )  # fmt: skip
    return output, total, mean, rstd


def norm_backward(
    d_output: Tensor, total: Tensor, mean: Tensor, rstd: Tensor, norm_weight: Tensor, dropout: Dropout
) -> tuple[Tensor, ...]:
    """As autograd.NormBackward."""
    rows, width = total.shape
    d_update, d_residual = torch.empty_like(total), torch.empty_like(total)
    blocks = min(math.ceil(rows / ROWS_PER_BLOCK), NORM_BACKWARD_BLOCKS * multiprocessors(total.device))
    sums = norm_weight.new_empty(blocks, 3, width)
    launch(
        "norm_backward",
        (d_output, total, mean, rstd, norm_weight, d_update, d_residual, sums, rows, *_dropout_arguments(dropout)),
        like=total, sizes={"WIDTH": width}, grid=(blocks, 1), threads=CONSTANTS["norm"]["THREADS"],
    )  # fmt: skip
    d_norm_weight, d_norm_bias, d_bias = _column_sums(sums.flatten(1)).unflatten(0, (3, width))
    return d_update, d_bias, d_residual, d_norm_weight, d_norm_bias


def gelu_forward(x: Tensor, bias: Tensor) -> Tensor:
    """As autograd.GeluForward."""
    output = torch.empty_like(x)
    _launch_gelu("gelu_forward", (x, bias, output, len(x)), _gelu_grid(x, GELU_FORWARD_BLOCKS), x)
    return output


def gelu_backward(d_output: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """As autograd.GeluBackward."""
    d_x = torch.empty_like(x)
    grid = _gelu_grid(x, GELU_BACKWARD_BLOCKS)
    sums = bias.new_empty(grid[1], x.shape[1])
    _launch_gelu("gelu_backward", (d_output, x, bias, d_x, sums, len(x)), grid, x)
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


def _dropout_arguments(dropout: Dropout) -> tuple[Tensor | None, int, float]:
    """Seed, threshold and scale of the kernels' Dropout."""
    return dropout.seed, dropout.threshold, dropout.scale
