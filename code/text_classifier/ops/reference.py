"""Each operation in plain torch: what it means, what the tests and the self-test compare with, and the fall-back.

Documented in backend.py. Computed in fp32 from numbers in any dtype. Has the dropout masks of the native operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from text_classifier.ops import varlen
from text_classifier.ops.backend import OPERATIONS, TORCH, Backend, FusedAdamW, with_rates
from text_classifier.ops.dropout import AttentionBits, Dropout, Probabilities, attention_bits
from text_classifier.ops.sequences import Sequences

#: Probabilities of a batch that each layer stores for its backward pass, at most: 10 MB with masks.
MAX_STORED = 1 << 20

#: Probabilities of sequences that are padded and computed together, at most: 64 MB.
MAX_PROBABILITIES = 1 << 24


def backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """All operations in plain torch."""
    is_on_gpu, is_16_bit = device.type == "cuda", dtype != torch.float32
    return Backend(
        # On a GPU the lengths of the sequences are not known to the host.
        attention=varlen.attention if is_on_gpu else attention,
        add_and_norm=add_and_norm, gelu=gelu, dropout=dropout_on_gpu if is_on_gpu else dropout,
        weight_grad=weight_grad, bias_grad=bias_grad, adamw=adamw, attention_bits=attention_bits,
        is_asynchronous=is_on_gpu,
        # On a GPU each number of tokens has a CUDA graph; on a CPU in 16 bits oneDNN generates code for each, which
        # takes as long as a matmul.
        wants_few_shapes=is_on_gpu or is_16_bit,
        keeps_shadow_weights=is_on_gpu and is_16_bit,
        prepacked_rows=0,
        names=dict.fromkeys(OPERATIONS, TORCH),
    )  # fmt: skip


def attention(
    query: Tensor | None, qkv: Tensor, sequences: Sequences, heads: int, dropout_p: float,
    bits: AttentionBits = attention_bits,
) -> Tensor:  # fmt: skip
    """As Backend.attention; reads the lengths on the host. `bits` defines the mask."""
    dropout = Dropout.draw(dropout_p, qkv.device)
    key_starts, key_count = sequences.first_tokens, sequences.cu_seqlens.diff()
    lengths: list[int] = key_count.tolist()
    groups = list(_groups(lengths, heads))
    sizes = [sum(lengths[begin:end]) for begin, end in groups]
    keys = qkv.split(sizes)
    queries = [None] * len(groups) if query is None else query.split([end - begin for begin, end in groups])
    is_small = sum((end - begin) * heads * max(lengths[begin:end]) ** 2 for begin, end in groups) <= MAX_STORED
    outputs = []
    for (begin, end), group_query, group in zip(groups, queries, keys, strict=True):
        longest = max(lengths[begin:end])
        first_query = key_starts if query is None else torch.arange(len(lengths), dtype=torch.int32, device=qkv.device)
        place = Probabilities(
            first=begin + sequences.place.rows, first_query=first_query[begin:end], key_count=key_count[begin:end],
            query_count=(key_count if query is None else torch.ones_like(key_count))[begin:end],
            heads=heads, queries=longest if query is None else 1, keys=longest, max_seqlen=sequences.max_seqlen,
        )  # fmt: skip
        attend = partial(_attend, place, dropout, bits)
        outputs.append(attend(group_query, group) if is_small else _Recomputed.apply(attend, group_query, group))
    return torch.cat(outputs)


def _attend(of: Probabilities, dropout: Dropout, bits: AttentionBits, query: Tensor | None, qkv: Tensor) -> Tensor:
    """The outputs of consecutive sequences, padded to the longest of them."""
    positions = torch.arange(of.keys, device=qkv.device)
    is_token = positions < of.key_count[:, None]
    starts = (of.key_count.cumsum(0) - of.key_count)[:, None]
    tokens = torch.where(is_token, starts + positions, starts)  # padding repeats the first token
    padded = qkv.index_select(0, tokens.flatten()).unflatten(0, tokens.shape)
    parts = padded.float().unflatten(2, (3 if query is None else 2, of.heads, -1)).permute(2, 0, 3, 1, 4)
    q = parts[0] if query is None else query.float().unflatten(1, (of.heads, 1, -1))
    mask = is_token[:, None, None]  # of [sequences, heads, queries, keys]
    if dropout.seed is None:
        attended = functional.scaled_dot_product_attention(q, parts[-2], parts[-1], mask)
    else:
        scores = q @ parts[-2].transpose(2, 3) * q.shape[-1] ** -0.5
        probs = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        attended = dropout.masked(probs, bits(dropout, of)) @ parts[-1]
    output = attended.transpose(1, 2).flatten(2).flatten(0, 1).to(qkv.dtype)
    return output.index_select(0, is_token.flatten().nonzero().flatten()) if query is None else output


class _Recomputed(torch.autograd.Function):
    """function(query, qkv), computed again in the backward pass: stored, many probabilities would not fit into memory.

    torch.utils.checkpoint imports torch's compiler, which takes a second.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], query: Tensor | None, qkv: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(query, qkv)
        return function(query, qkv)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tensors = [None if tensor is None else tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            output = ctx.function(*tensors)
        found = torch.autograd.grad(output, [tensor for tensor in tensors if tensor is not None], gradients)
        return None, *(() if tensors[0] is not None else (None,)), *found


def _groups(lengths: list[int], heads: int) -> Iterator[tuple[int, int]]:
    """Consecutive sequences of similar lengths: first and end."""
    begin = 0
    for end in range(1, len(lengths) + 1):
        longest = max(lengths[begin : end + 1])
        is_full = (end + 1 - begin) * heads * longest**2 > MAX_PROBABILITIES
        if end == len(lengths) or is_full or 2 * min(lengths[begin : end + 1]) < longest - 8:
            yield begin, end
            begin = end


def add_and_norm(
    update: Tensor, bias: Tensor, residual: Tensor, norm: nn.LayerNorm, dropout_p: float, rows_before: int = 0
) -> Tensor:
    """As Backend.add_and_norm."""
    dropout = Dropout.draw(dropout_p, update.device).shifted(rows_before * update.shape[1])
    return norm(residual.float() + dropout(update.float() + bias)).to(update.dtype)


def gelu(x: Tensor, bias: Tensor) -> Tensor:
    """As Backend.gelu."""
    return functional.gelu(x.float() + bias).to(x.dtype)


def dropout(x: Tensor, dropout_p: float, rows_before: int = 0) -> Tensor:
    """As Backend.dropout."""
    dropout = Dropout.draw(dropout_p, x.device).shifted(rows_before * x.shape[1])
    return dropout(x.float()).to(x.dtype) if dropout_p else x


def dropout_on_gpu(x: Tensor, dropout_p: float, rows_before: int = 0) -> Tensor:
    """As Backend.dropout, with torch's random numbers, which have no place."""
    return functional.dropout(x, dropout_p)


def weight_grad(d_output: Tensor, x: Tensor) -> Tensor:
    """As Backend.weight_grad."""
    if x.is_cuda and x.dtype != torch.float32:
        return torch.mm(d_output.t(), x, out_dtype=torch.float32)
    return (d_output.t() @ x).float()


def bias_grad(d_output: Tensor) -> Tensor:
    """As Backend.bias_grad."""
    return d_output.sum(0, dtype=torch.float32)


def adamw(
    groups: Iterable[dict[str, Any]], lr: Tensor, epsilon: float, shadow_weights: Mapping[Tensor, Tensor]
) -> FusedAdamW:
    """As Backend.adamw."""
    optimizer = FusedAdamW(with_rates(groups, lr), eps=epsilon, fused=True, capturable=lr.is_cuda)

    @torch.no_grad()
    def refresh(*_: Any) -> None:
        torch._foreach_copy_(list(shadow_weights.values()), list(shadow_weights.keys()))

    if shadow_weights:
        optimizer.register_step_post_hook(refresh)
    return optimizer
