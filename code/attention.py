"""Attention within each sequence of a packed batch, with dropout of the attention probabilities.

On a GPU by the variable-length kernels that torch ships. On a CPU, where torch has none, and where its attention with
dropout is slow, by matrix products over groups of sequences of like length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dropout import clear, keep_bits, keep_scale

#: torch's flash attention is for Ampere and later, and for 16 bits; its memory-efficient attention for all.
FLASH_CAPABILITY = (8, 0)

#: Places (the square of the length, summed over its sequences) from which a group is worth its own operations. Shorter
#: sequences are padded to the longest of a group until it has so many; longer ones are never padded.
GROUP_PLACES = 16_000

#: Attention probabilities that a CPU works on at once: few enough to stay in its second-level cache from one operation
#: to the next.
BLOCK = 1 << 18


@dataclass(frozen=True)
class Group:
    """Sequences that a CPU multiplies together: `first` to `last` (exclusive) of the batch."""

    first: int
    last: int
    longest: int
    places: torch.Tensor  #: int64 [tokens], where each token stands among [sequences * longest] padded places
    bias: torch.Tensor | None  #: float32 [sequences, 1, longest], 0 for a token, -inf for padding; None without
    begin: int  #: first token
    end: int  #: behind the last token


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a packed batch begin: `boundaries` int32 [sequences + 1]; longest first."""

    boundaries: torch.Tensor
    longest: int
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, lengths: np.ndarray) -> Sequences:
        """From the lengths in tokens, int64 [sequences], in falling order."""
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return cls(torch.from_numpy(offsets.astype(np.int32)), int(lengths[0]), tuple(_groups(lengths, offsets)))

    def to(self, device: torch.device) -> Sequences:
        """The same on `device`; the groups are the CPU's alone."""
        return (
            self if device.type == "cpu" else Sequences(self.boundaries.to(device, non_blocking=True), self.longest, ())
        )


def _groups(lengths: np.ndarray, offsets: np.ndarray) -> list[Group]:
    groups = []
    first = 0
    while first < len(lengths):
        longest = int(lengths[first])
        equal = int(np.sum(lengths[first:] == longest))
        last = min(first + max(equal, math.ceil(GROUP_PLACES / longest**2)), len(lengths))
        place = np.arange(longest)[None, :]
        is_token = place < lengths[first:last, None]
        bias = None if is_token.all() else torch.from_numpy(np.where(is_token, 0.0, -np.inf).astype(np.float32))
        groups.append(
            Group(
                first, last, longest, torch.from_numpy(np.flatnonzero(is_token)),
                None if bias is None else bias[:, None, :], int(offsets[first]), int(offsets[last]),
            )
        )  # fmt: skip
        first = last
    return groups


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    sequences: Sequences,
    probability: float,
    *,
    first_only: bool,
) -> torch.Tensor:
    """Attention output [queries, width]. `key` and `value` [tokens, width] are packed; `query` is [tokens, width], or,
    with `first_only`, [sequences, width]: one query a sequence. Probabilities drop out with `probability`.
    """
    if query.device.type == "cpu":
        output: torch.Tensor = _CpuAttention.apply(query, key, value, heads, sequences.groups, probability, first_only)
        return output
    query, key, value = (x.view(len(x), heads, -1) for x in (query, key, value))
    boundaries = sequences.boundaries
    starts = torch.arange(len(boundaries), dtype=torch.int32, device=query.device) if first_only else boundaries
    longest = 1 if first_only else sequences.longest
    if query.dtype == torch.float32 or torch.cuda.get_device_capability(query.device) < FLASH_CAPABILITY:
        output = torch.ops.aten._efficient_attention_forward(
            query[None], key[None], value[None], None, starts, boundaries, longest, sequences.longest,
            probability, 0, query.requires_grad,
        )[0]  # fmt: skip
    else:
        output = torch.ops.aten._flash_attention_forward(
            query, key, value, starts, boundaries, longest, sequences.longest, probability, False, False
        )[0]
    return output.reshape(len(query), -1)


class _CpuAttention(torch.autograd.Function):
    """Softmax attention by groups, and in each by blocks of sequences and heads.

    Forward keeps what backward needs: each group's vectors, the probabilities, the dropout's bits. Factors (of the
    scores, of dropout) are multiplied into the vectors, which are fewer than the probabilities.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        heads: int,
        groups: tuple[Group, ...],
        probability: float,
        first_only: bool,
    ) -> torch.Tensor:
        scale = (query.shape[1] // heads) ** -0.5
        output = query.new_empty(query.shape)
        saved: list[torch.Tensor] = []
        for group in groups:
            q = _take(query, heads, group, first_only).mul_(scale)
            k, v = _take(key, heads, group, False), _take(value, heads, group, False)
            saved += [q, k, v]
            attended = torch.empty_like(q)
            for part, bias in _blocks(group, heads, q, k):
                scores = torch.bmm(q[part], k[part].transpose(1, 2))
                weights = torch.softmax(scores if bias is None else scores.add_(bias), dim=-1)
                saved.append(weights)
                if probability:
                    bits = keep_bits(weights.shape, probability, weights.dtype)
                    saved.append(bits)
                    weights = clear(weights, bits)
                torch.bmm(weights, v[part], out=attended[part])
            _put(output, attended.mul_(keep_scale(probability)), heads, group, first_only)
        ctx.save_for_backward(*saved)
        ctx.shape = key.shape, heads, groups, probability, first_only, scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (d_output,) = gradients
        key_shape, heads, groups, probability, first_only, scale = ctx.shape
        saved = iter(ctx.saved_tensors)
        d_query, d_key, d_value = (d_output.new_empty(shape) for shape in (d_output.shape, key_shape, key_shape))
        for group in groups:
            q, k, v = next(saved), next(saved), next(saved)
            d_out = _take(d_output, heads, group, first_only).mul_(keep_scale(probability))
            d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
            for part, _ in _blocks(group, heads, q, k):
                weights = next(saved)
                d_weights = torch.bmm(d_out[part], v[part].transpose(1, 2))
                dropped = weights
                if probability:
                    bits = next(saved)
                    dropped, d_weights = clear(weights, bits), clear(d_weights, bits)
                torch.bmm(dropped.transpose(1, 2), d_out[part], out=d_v[part])
                d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                torch.bmm(d_scores, k[part], out=d_q[part])
                torch.bmm(d_scores.transpose(1, 2), q[part], out=d_k[part])
            _put(d_query, d_q.mul_(scale), heads, group, first_only)
            _put(d_key, d_k, heads, group, False)
            _put(d_value, d_v, heads, group, False)
        return d_query, d_key, d_value, None, None, None, None


def _blocks(
    group: Group, heads: int, query: torch.Tensor, key: torch.Tensor
) -> Iterator[tuple[slice, torch.Tensor | None]]:
    """Slices of the group's sequences and heads, and the bias of each slice."""
    bias = None
    if group.bias is not None:
        bias = group.bias.to(query.dtype).repeat_interleave(heads, dim=0)
    size = max(1, BLOCK // (query.shape[1] * key.shape[1]))
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        yield part, None if bias is None else bias[part]


def _take(packed: torch.Tensor, heads: int, group: Group, first_only: bool) -> torch.Tensor:
    """A copy of the group's rows, [sequences * heads, places, width / heads], with 0 at padding."""
    count = group.last - group.first
    if first_only:
        rows = packed[group.first : group.last]
    elif group.bias is None:
        rows = packed[group.begin : group.end]
    else:
        rows = packed.new_zeros(count * group.longest, packed.shape[1])
        rows.index_copy_(0, group.places, packed[group.begin : group.end])
    grouped = rows.view(count, -1, heads, packed.shape[1] // heads).transpose(1, 2)
    return grouped.clone(memory_format=torch.contiguous_format).flatten(0, 1)


def _put(packed: torch.Tensor, grouped: torch.Tensor, heads: int, group: Group, first_only: bool) -> None:
    """The way back; what stands at padding is left out."""
    rows = grouped.unflatten(0, (-1, heads)).transpose(1, 2)
    if first_only:
        packed[group.first : group.last] = rows.flatten(1)
    elif group.bias is None:
        packed[group.begin : group.end].view_as(rows).copy_(rows)
    else:
        torch.index_select(rows.reshape(-1, packed.shape[1]), 0, group.places, out=packed[group.begin : group.end])
