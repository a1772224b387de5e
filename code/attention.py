"""Attention within each sequence of a packed batch, with dropout of the attention probabilities.

On a GPU by the variable-length kernels that torch ships. On a CPU, where torch has none, and where its attention with
dropout is slow, by matrix products over groups of sequences of like length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dropout import keep_mask

#: Sequences are padded together, inside the attention alone, while the shortest has this share of the longest's tokens.
LIKE_LENGTH = 0.75


@dataclass(frozen=True)
class Group:
    """Sequences that a CPU multiplies together: `first` to `last` (exclusive) of the batch."""

    first: int
    last: int
    longest: int
    places: torch.Tensor  #: int64 [tokens], where each token stands among [sequences * longest] padded places
    bias: torch.Tensor | None  #: float32 [sequences, 1, 1, longest], 0 for a token, -inf for padding; None without
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
        last = first + int(np.sum(lengths[first:] >= LIKE_LENGTH * longest))
        place = np.arange(longest)[None, :]
        is_token = place < lengths[first:last, None]
        bias = None if is_token.all() else torch.from_numpy(np.where(is_token, 0.0, -np.inf).astype(np.float32))
        groups.append(
            Group(
                first, last, longest, torch.from_numpy(np.flatnonzero(is_token)),
                None if bias is None else bias[:, None, None, :], int(offsets[first]), int(offsets[last]),
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
    if query.dtype == torch.float32:
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
    """Softmax attention by groups; forward keeps the probabilities, which backward needs."""

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
        output = torch.empty_like(query)
        saved: list[torch.Tensor | None] = []
        for group in groups:
            q, k, v = _grouped(query, key, value, heads, group, first_only)
            scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scale)
            if group.bias is not None:
                scores = scores + group.bias.to(scores.dtype)
            weights = torch.softmax(scores, dim=-1)
            kept = keep_mask(weights.shape, probability, weights.dtype) if probability else None
            dropped = weights if kept is None else weights * kept
            _put(output, torch.matmul(dropped, v), group, first_only)
            saved += [weights, kept, dropped]
        ctx.save_for_backward(query, key, value, *saved)
        ctx.shape = heads, groups, first_only, scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        heads, groups, first_only, scale = ctx.shape
        (d_output,) = gradients
        d_query, d_key, d_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for number, group in enumerate(groups):
            weights, kept, dropped = saved[3 * number : 3 * number + 3]
            q, k, v = _grouped(query, key, value, heads, group, first_only)
            d_out = _take(d_output, heads, group, first_only)
            _put(d_value, torch.matmul(dropped.transpose(-1, -2), d_out), group, False)
            d_weights = torch.matmul(d_out, v.transpose(-1, -2))
            if kept is not None:
                d_weights.mul_(kept)
            d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(scale)
            _put(d_query, torch.matmul(d_scores, k), group, first_only)
            _put(d_key, torch.matmul(d_scores.transpose(-1, -2), q), group, False)
        return d_query, d_key, d_value, None, None, None, None


def _grouped(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, group: Group, first_only: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _take(query, heads, group, first_only), _take(key, heads, group, False), _take(value, heads, group, False)


def _take(packed: torch.Tensor, heads: int, group: Group, first_only: bool) -> torch.Tensor:
    """[rows, width] to the group's [sequences, heads, places, width / heads], with 0 at padding."""
    count = group.last - group.first
    if first_only:
        rows = packed[group.first : group.last]
    elif group.bias is None:
        rows = packed[group.begin : group.end]
    else:
        rows = packed.new_zeros(count * group.longest, packed.shape[1])
        rows[group.places] = packed[group.begin : group.end]
    return rows.view(count, -1, heads, packed.shape[1] // heads).transpose(1, 2)


def _put(packed: torch.Tensor, grouped: torch.Tensor, group: Group, first_only: bool) -> None:
    """The way back; what stands at padding is left out."""
    rows = grouped.transpose(1, 2).reshape(-1, packed.shape[1])
    if first_only:
        packed[group.first : group.last] = rows
    else:
        packed[group.begin : group.end] = rows if group.bias is None else rows[group.places]
