"""Attention within each sequence of a packed batch, with dropout of the attention probabilities.

On a CPU, where torch has no kernels for it, by cpu/bindings.py; on a GPU by cuda/bindings.py if it supports the batch,
else by torch's variable-length kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from text_classifier.ops.cpu import bindings as cpu_ops
from text_classifier.ops.cuda import bindings as cuda_ops

#: Limits of torch's flash attention (16 bits only): compute capability (Ampere) and head width. Its memory-efficient
#: attention has none.
FLASH_MIN_CAPABILITY = (8, 0)
FLASH_MAX_HEAD_WIDTH = 256


@dataclass(frozen=True)
class Sequences:
    """The sequences of a packed batch, longest first. Padding sequences may follow those of the rows."""

    cu_seqlens: Tensor  #: int32 [sequences + 1], the first token of each, and the end
    max_seqlen: int  #: an upper bound of the lengths
    count: int  #: sequences without the padding ones

    @classmethod
    def from_lengths(cls, lengths: np.ndarray, padding: Sequence[int] = (), max_seqlen: int | None = None) -> Sequences:
        """From the lengths in tokens, int64 [count], in descending order, and those of the padding sequences."""
        cu_seqlens = np.concatenate([[0], np.cumsum([*lengths, *padding])])
        return cls(torch.from_numpy(cu_seqlens.astype(np.int32)), max_seqlen or int(lengths[0]), len(lengths))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Equal for batches that one CUDA graph can compute."""
        return len(self.cu_seqlens), self.max_seqlen, self.count

    @property
    def first_tokens(self) -> Tensor:
        """The index of each sequence's first token, int32 [sequences]."""
        return self.cu_seqlens[:-1]

    def to(self, device: torch.device, *, non_blocking: bool) -> Sequences:
        """A copy on `device`."""
        return replace(self, cu_seqlens=self.cu_seqlens.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sequences:
        """A copy in pinned memory."""
        return replace(self, cu_seqlens=self.cu_seqlens.pin_memory())

    def copy_(self, other: Sequences, *, non_blocking: bool) -> None:
        """Overwrite the cu_seqlens."""
        self.cu_seqlens.copy_(other.cu_seqlens, non_blocking=non_blocking)


def attend(query: Tensor | None, qkv: Tensor, heads: int, sequences: Sequences, dropout_p: float) -> Tensor:
    """Softmax attention within each sequence, with dropout of the probabilities: [queries, width].

    qkv: [tokens, 3 * width], queries, keys and values side by side. With `query` [sequences, width], one query per
    sequence, it is [tokens, 2 * width]: keys and values.
    """
    cu_seqlens, max_seqlen = sequences.cu_seqlens, sequences.max_seqlen
    if qkv.device.type == "cpu":
        return cpu_ops.attention(query, qkv, cu_seqlens, max_seqlen, heads, dropout_p)
    head_width = qkv.shape[1] // (3 if query is None else 2) // heads
    if cuda_ops.supports_attention(qkv, head_width, max_seqlen):
        return cuda_ops.attention(query, qkv, cu_seqlens, max_seqlen, heads, dropout_p)
    starts, max_seqlen_q = cu_seqlens, max_seqlen
    if query is None:
        query, key, value = qkv.chunk(3, dim=1)
    else:
        starts, max_seqlen_q = torch.arange(len(cu_seqlens), dtype=torch.int32, device=query.device), 1
        key, value = qkv.chunk(2, dim=1)
    # torch's kernels want a head width that is a multiple of 8; zero columns do not change the attention.
    query, key, value = (part.unflatten(1, (heads, head_width)) for part in (query, key, value))
    if head_width % 8:
        query, key, value = (functional.pad(part, (0, -head_width % 8)) for part in (query, key, value))
    has_flash = torch.cuda.get_device_capability(query.device) >= FLASH_MIN_CAPABILITY
    if query.dtype == torch.float32 or head_width > FLASH_MAX_HEAD_WIDTH or not has_flash:
        output = torch.ops.aten._efficient_attention_forward(
            query[None], key[None], value[None], None, starts, cu_seqlens, max_seqlen_q, max_seqlen,
            dropout_p, 0, query.requires_grad, scale=head_width**-0.5,
        )[0][0]  # fmt: skip
    else:
        output = torch.ops.aten._flash_attention_forward(
            query, key, value, starts, cu_seqlens, max_seqlen_q, max_seqlen,
            dropout_p, False, False, scale=head_width**-0.5,
        )[0]  # fmt: skip
    return output[..., :head_width].reshape(len(query), -1)
