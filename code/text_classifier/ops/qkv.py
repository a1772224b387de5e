"""How queries, keys and values lie in one tensor."""

from __future__ import annotations

import torch


def parts_of(query: torch.Tensor | None, projected: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views of queries, keys and values."""
    return projected.chunk(3, dim=1) if query is None else (query, *projected.chunk(2, dim=1))
