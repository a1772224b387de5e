"""The layout of queries, keys and values in one tensor."""

from __future__ import annotations

from torch import Tensor


def split_qkv(query: Tensor | None, qkv: Tensor) -> tuple[Tensor, ...]:
    """Views of queries, keys and values."""
    return qkv.chunk(3, dim=1) if query is None else (query, *qkv.chunk(2, dim=1))
