"""Attention within each sequence of a packed batch, with dropout of the attention probabilities.

On a CPU, where torch has no kernels for it, by those of kernels.py; on a GPU by cuda_kernels.py where it can, else by
the variable-length kernels that torch ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from text_classifier.ops.cpu import bindings as kernels
from text_classifier.ops.cuda import bindings as cuda_kernels

#: torch's flash attention is for Ampere and later, for 16 bits and heads so wide; its memory-efficient one for all.
FLASH_CAPABILITY = (8, 0)
FLASH_WIDTH = 256


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a packed batch begin: `boundaries` int32 [sequences + 1]; longest first.

    Behind the `count` sequences of the rows may be others, which only fill the batch up to a size.
    """

    boundaries: torch.Tensor
    longest: int  #: no sequence has more tokens
    count: int

    @classmethod
    def of(cls, lengths: np.ndarray, filling: Sequence[int] = (), longest: int | None = None) -> Sequences:
        """From the lengths in tokens, int64 [count], in falling order, and those of the filling sequences."""
        boundaries = np.concatenate([[0], np.cumsum([*lengths, *filling])])
        return cls(torch.from_numpy(boundaries.astype(np.int32)), longest or int(lengths[0]), len(lengths))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Equal for batches that are computed by the same operations."""
        return len(self.boundaries), self.longest, self.count

    @property
    def first_tokens(self) -> torch.Tensor:
        """The index of each sequence's first token, int32 [sequences]."""
        return self.boundaries[:-1]

    def to(self, device: torch.device, *, non_blocking: bool) -> Sequences:
        """The same on `device`."""
        return replace(self, boundaries=self.boundaries.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sequences:
        """The same in pinned memory."""
        return replace(self, boundaries=self.boundaries.pin_memory())

    def copy_(self, other: Sequences, *, non_blocking: bool) -> None:
        """Overwrite the boundaries."""
        self.boundaries.copy_(other.boundaries, non_blocking=non_blocking)


def attend(
    query: torch.Tensor | None, projected: torch.Tensor, heads: int, sequences: Sequences, probability: float
) -> torch.Tensor:
    """Attention output [queries, width]; probabilities drop out with `probability`.

    projected [tokens, 3 * width]: queries, keys and values, packed. With `query` [sequences, width], one for each
    sequence, it is [tokens, 2 * width], without queries.
    """
    boundaries, longest = sequences.boundaries, sequences.longest
    if projected.device.type == "cpu":
        return kernels.attention(query, projected, boundaries, longest, heads, probability)
    width = projected.shape[1] // (3 if query is None else 2) // heads
    if cuda_kernels.attends(projected, width, longest):
        return cuda_kernels.attention(query, projected, boundaries, longest, heads, probability)
    starts, longest_query = boundaries, longest
    if query is None:
        query, key, value = projected.chunk(3, dim=1)
    else:
        starts, longest_query = torch.arange(len(boundaries), dtype=torch.int32, device=query.device), 1
        key, value = projected.chunk(2, dim=1)
    # The kernels want heads whose width is a multiple of 8; zeros behind it change no product.
    query, key, value = (part.unflatten(1, (heads, width)) for part in (query, key, value))
    if width % 8:
        query, key, value = (functional.pad(part, (0, -width % 8)) for part in (query, key, value))
    is_new = torch.cuda.get_device_capability(query.device) >= FLASH_CAPABILITY
    if query.dtype == torch.float32 or width > FLASH_WIDTH or not is_new:
        output = torch.ops.aten._efficient_attention_forward(
            query[None], key[None], value[None], None, starts, boundaries, longest_query, longest,
            probability, 0, query.requires_grad, scale=width**-0.5,
        )[0][0]  # fmt: skip
    else:
        output = torch.ops.aten._flash_attention_forward(
            query, key, value, starts, boundaries, longest_query, longest, probability, False, False, scale=width**-0.5
        )[0]
    return output[..., :width].reshape(len(query), -1)
