"""The sequences of a packed batch, and the layout of their queries, keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """The place of a micro-batch in its batch: on a CPU, rows have the dropout that they would have in the batch."""

    tokens: int = 0  #: before those of the micro-batch
    rows: int = 0  #: before those of the micro-batch
    batch_rows: int = 0  #: of the batch; 0: the micro-batch is the batch


@dataclass(frozen=True)
class Sequences:
    """The sequences of a packed batch, longest first. Padding sequences may follow those of the rows."""

    cu_seqlens: Tensor  #: int32 [sequences + 1], the first token of each, and the end
    max_seqlen: int  #: an upper bound of the lengths
    count: int  #: sequences without the padding ones
    place: Place = Place()

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

    def placed(self, place: Place) -> Sequences:
        """The same as part of a larger batch."""
        return replace(self, place=place)

    def copy_(self, other: Sequences, *, non_blocking: bool) -> None:
        """Overwrite the cu_seqlens."""
        self.cu_seqlens.copy_(other.cu_seqlens, non_blocking=non_blocking)


def split_qkv(query: Tensor | None, qkv: Tensor) -> tuple[Tensor, ...]:
    """Views of queries, keys and values."""
    return qkv.chunk(3, dim=1) if query is None else (query, *qkv.chunk(2, dim=1))
