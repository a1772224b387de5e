"""Dropout with cheap random bits on the CPU.

torch draws one number per element there, which takes longer than the matrix products around it. Here 64 random bits
serve four elements: of each 16 the lower 15 are compared with a threshold, so a probability is met to 1/32768, and the
scale is that of the probability met.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_LEVELS = 1 << 15


def keep_mask(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """A CPU tensor of 0, with `probability`, and of 1 / (1 - probability) elsewhere."""
    threshold = round(probability * _LEVELS)
    count = shape.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_().view(torch.int16)[:count]
    # int64.random_() leaves the sign bit 0, so the uppermost of each 16 bits is not random.
    kept = bits.bitwise_and_(_LEVELS - 1) >= threshold
    return kept.view(shape).to(dtype).mul_(_LEVELS / (_LEVELS - threshold))


def dropout(x: torch.Tensor, probability: float) -> torch.Tensor:
    """Zero elements with `probability` and scale the rest, so that the mean stays."""
    if not probability:
        return x
    if x.device.type == "cpu":
        return x * keep_mask(x.shape, probability, x.dtype)
    return functional.dropout(x, probability)
