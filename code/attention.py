"""Attention within each sequence of a packed batch, with dropout of the attention probabilities.

On a GPU by the variable-length kernels that torch ships; on a CPU, where torch has none, by those of kernels.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

import kernels

#: torch's flash attention is for Ampere and later, and for 16 bits; its memory-efficient attention for all.
FLASH_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a packed batch begin: `boundaries` int32 [sequences + 1]; longest first."""

    boundaries: torch.Tensor
    longest: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> Sequences:
        """From the lengths in tokens, int64 [sequences], in falling order."""
        boundaries = np.concatenate([[0], np.cumsum(lengths)])
        return cls(torch.from_numpy(boundaries.astype(np.int32)), int(lengths[0]))

    def to(self, device: torch.device) -> Sequences:
        """The same on `device`."""
        return Sequences(self.boundaries.to(device, non_blocking=True), self.longest)


def attend(
    query: torch.Tensor | None, projected: torch.Tensor, heads: int, sequences: Sequences, probability: float
) -> torch.Tensor:
    """Attention output [queries, width]; probabilities drop out with `probability`.

    projected [tokens, 3 * width]: queries, keys and values, packed. With `query` [sequences, width], one for each
    sequence, it is [tokens, 2 * width], without queries.
    """
    boundaries = sequences.boundaries
    if projected.device.type == "cpu":
        return kernels.attention(query, projected, boundaries, sequences.longest, heads, probability)
    starts, longest = boundaries, sequences.longest
    if query is None:
        query, key, value = (part.unflatten(1, (heads, -1)) for part in projected.chunk(3, dim=1))
    else:
        starts, longest = torch.arange(len(boundaries), dtype=torch.int32, device=query.device), 1
        query, key, value = (part.unflatten(1, (heads, -1)) for part in (query, *projected.chunk(2, dim=1)))
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
