"""The layout of queries, keys and values in one tensor."""

from __future__ import annotations

import torch


def split_qkv(query: torch.Tensor | None, qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views of queries, keys and values."""
    return qkv.chunk(3, dim=1) if query is None else (query, *qkv.chunk(2, dim=1))
