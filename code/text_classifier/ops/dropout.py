"""Dropout whose mask is a function of a seed: every back end, and the backward pass, computes the same mask again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dropout:
    """Elements whose 16 random bits are below `threshold` become zero, the others are multiplied by `scale`."""

    threshold: int
    seed: Tensor | None  #: int64 scalar on the device; None without dropout

    @classmethod
    def draw(cls, probability: float, device: torch.device) -> Dropout:
        """With a seed of torch's generator, drawn on the device: each replay of a CUDA graph has another."""
        seed = torch.randint(1 << 62, (), device=device) if probability else None
        return cls(round(probability * (1 << 16)), seed)

    def shifted(self, count: int) -> Dropout:
        """With the random bits of indices that are larger by `count`: an index is added to half of the seed."""
        if self.seed is None or not count:
            return self
        first, second = self.key
        shift = (count + (1 << 31)) % (1 << 32) - (1 << 31)  # as int32, which wraps around
        return replace(self, seed=torch.cat([first + shift, second]).view(torch.int64)[0])

    @property
    def scale(self) -> float:
        """The factor of the elements that are kept."""
        return (1 << 16) / ((1 << 16) - self.threshold)

    @property
    def key(self) -> tuple[Tensor, Tensor]:
        """Both halves of the seed, int32 [1]."""
        assert self.seed is not None
        first, second = self.seed.reshape(1).view(torch.int32).split(1)
        return first, second

    def __call__(self, x: Tensor) -> Tensor:
        """The dropout of `x`; an element's random bits are those of its index."""
        if self.seed is None:
            return x
        index = torch.arange(x.numel(), dtype=torch.int32, device=x.device)
        return self.masked(x, random_bits(*self.key, index).view(x.shape) >> 16)

    def masked(self, x: Tensor, bits: Tensor) -> Tensor:
        """The dropout of `x` by the lower 16 of these random bits."""
        return x.masked_fill((bits & 0xFFFF) < self.threshold, 0.0).mul_(self.scale)


def random_bits(first: Tensor, second: Tensor, index: Tensor) -> Tensor:
    """32 random bits of each index, int32: Chris Wellons's "lowbias32", with `second` between its rounds.

    As in cpu/dtypes.h and cuda/dtypes.cuh. int32 wraps around; torch shifts its sign in, which the masks remove.
    """
    x = index + first
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= second
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - (1 << 32)
    x ^= (x >> 16) & 0xFFFF
    return x


@dataclass(frozen=True)
class Probabilities:
    """The attention probabilities of consecutive sequences, padded: [sequences, heads, queries, keys]."""

    first: int  #: number of the first sequence
    first_query: Tensor  #: of each sequence, int32 [sequences]
    query_count: Tensor  #: of each sequence, int32 [sequences]
    key_count: Tensor  #: of each sequence, int32 [sequences]
    heads: int
    queries: int  #: of the longest sequence
    keys: int
    max_seqlen: int  #: of the batch


#: The random bits of attention probabilities, of which the lower 16 count.
AttentionBits = Callable[[Dropout, Probabilities], Tensor]


def attention_bits(dropout: Dropout, of: Probabilities) -> Tensor:
    """As cpu/kernels.cpp: a key for each head of each sequence, and 32 bits for each query and two keys."""
    sequences = torch.arange(of.first, of.first + len(of.query_count), dtype=torch.int32)
    tasks = (sequences[:, None] * of.heads + torch.arange(of.heads, dtype=torch.int32))[..., None, None]
    key = random_bits(*dropout.key, 2 * tasks), random_bits(*dropout.key, 2 * tasks + 1)
    pairs, queries = (torch.arange(count, dtype=torch.int32) for count in (-(-of.keys // 2), of.queries))
    stride = (of.query_count + 31) // 32 * 32
    bits = random_bits(*key, pairs * stride[:, None, None, None] + queries[:, None])
    return torch.stack((bits >> 16, bits), -1).flatten(-2)[..., : of.keys]
