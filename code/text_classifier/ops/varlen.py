"""Attention on a GPU by torch's variable-length kernels, which need no lengths on the host."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from text_classifier.ops.sequences import Sequences, split_qkv

#: Limits of torch's flash attention (16 bits only): compute capability (Ampere) and head width. Its memory-efficient
#: attention has none.
FLASH_MIN_CAPABILITY = (8, 0)
FLASH_MAX_HEAD_WIDTH = 256


def attention(query: Tensor | None, qkv: Tensor, sequences: Sequences, heads: int, dropout_p: float) -> Tensor:
    """As Backend.attention, with torch's random numbers."""
    ends, longest = sequences.cu_seqlens, sequences.max_seqlen
    starts, max_queries = ends, longest
    if query is not None:
        starts, max_queries = torch.arange(len(ends), dtype=torch.int32, device=qkv.device), 1
    q, k, v = (part.unflatten(1, (heads, -1)) for part in split_qkv(query, qkv))
    head_width = q.shape[2]
    # torch's kernels want a head width that is a multiple of 8; zero columns do not change the attention.
    if head_width % 8:
        q, k, v = (functional.pad(part, (0, -head_width % 8)) for part in (q, k, v))
    has_flash = torch.cuda.get_device_capability(q.device) >= FLASH_MIN_CAPABILITY
    if q.dtype == torch.float32 or head_width > FLASH_MAX_HEAD_WIDTH or not has_flash:
        output = torch.ops.aten._efficient_attention_forward(
            q[None], k[None], v[None], None, starts, ends, max_queries, longest,
            dropout_p, 0, q.requires_grad, scale=head_width**-0.5,
        )[0][0]  # fmt: skip
    else:
        output = torch.ops.aten._flash_attention_forward(
            q, k, v, starts, ends, max_queries, longest, dropout_p, False, False, scale=head_width**-0.5
        )[0]
    return output[..., :head_width].reshape(len(q), -1)
