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
    """Where the sequences of a packed batch begin: `cu_seqlens` int32 [sequences + 1]; longest first.

    Behind the `count` sequences of the rows may be others, which only fill the batch up to a size.
    """

    cu_seqlens: torch.Tensor
    max_seqlen: int  #: no sequence has more tokens
    count: int

    @classmethod
    def from_lengths(cls, lengths: np.ndarray, padding: Sequence[int] = (), max_seqlen: int | None = None) -> Sequences:
        """From the lengths in tokens, int64 [count], in falling order, and those of the padding sequences."""
        cu_seqlens = np.concatenate([[0], np.cumsum([*lengths, *padding])])
        return cls(torch.from_numpy(cu_seqlens.astype(np.int32)), max_seqlen or int(lengths[0]), len(lengths))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Equal for batches that are computed by the same operations."""
        return len(self.cu_seqlens), self.max_seqlen, self.count

    @property
    def first_tokens(self) -> torch.Tensor:
        """The index of each sequence's first token, int32 [sequences]."""
        return self.cu_seqlens[:-1]

    def to(self, device: torch.device, *, non_blocking: bool) -> Sequences:
        """The same on `device`."""
        return replace(self, cu_seqlens=self.cu_seqlens.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sequences:
        """The same in pinned memory."""
        return replace(self, cu_seqlens=self.cu_seqlens.pin_memory())

    def copy_(self, other: Sequences, *, non_blocking: bool) -> None:
        """Overwrite the cu_seqlens."""
        self.cu_seqlens.copy_(other.cu_seqlens, non_blocking=non_blocking)


def attend(
    query: torch.Tensor | None, qkv: torch.Tensor, heads: int, sequences: Sequences, probability: float
) -> torch.Tensor:
    """Attention output [queries, width]; probabilities drop out with `probability`.

    qkv [tokens, 3 * width]: queries, keys and values, packed. With `query` [sequences, width], one for each
    sequence, it is [tokens, 2 * width], without queries.
    """
    cu_seqlens, max_seqlen = sequences.cu_seqlens, sequences.max_seqlen
    if qkv.device.type == "cpu":
        return kernels.attention(query, qkv, cu_seqlens, max_seqlen, heads, probability)
    width = qkv.shape[1] // (3 if query is None else 2) // heads
    if cuda_kernels.supports_attention(qkv, width, max_seqlen):
        return cuda_kernels.attention(query, qkv, cu_seqlens, max_seqlen, heads, probability)
    starts, max_seqlen_q = cu_seqlens, max_seqlen
    if query is None:
        query, key, value = qkv.chunk(3, dim=1)
    else:
        starts, max_seqlen_q = torch.arange(len(cu_seqlens), dtype=torch.int32, device=query.device), 1
        key, value = qkv.chunk(2, dim=1)
    # The kernels want heads whose width is a multiple of 8; zeros behind it change no product.
    query, key, value = (part.unflatten(1, (heads, width)) for part in (query, key, value))
    if width % 8:
        query, key, value = (functional.pad(part, (0, -width % 8)) for part in (query, key, value))
    is_new = torch.cuda.get_device_capability(query.device) >= FLASH_CAPABILITY
    if query.dtype == torch.float32 or width > FLASH_WIDTH or not is_new:
        output = torch.ops.aten._efficient_attention_forward(
            query[None], key[None], value[None], None, starts, cu_seqlens, max_seqlen_q, max_seqlen,
            probability, 0, query.requires_grad, scale=width**-0.5,
        )[0][0]  # fmt: skip
    else:
        output = torch.ops.aten._flash_attention_forward(
            query,
            key,
            value,
            starts,
            cu_seqlens,
            max_seqlen_q,
            max_seqlen,
            probability,
            False,
            False,
            scale=width**-0.5,
        )[0]
    return output[..., :width].reshape(len(query), -1)
