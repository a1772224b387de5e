"""Dropout with cheap random bits on the CPU.

torch draws one number per element there, which takes longer than the matrix products around it. Here 64 random bits
serve four elements: of each 16 the lower 15 are compared with a threshold, so a probability is met to 1/32768, and the
scale is that of the probability met. A mask is of bits, all 1 or all 0 for an element: to clear an element's bits is a
sixth of the work of multiplying it by a mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

_LEVELS = 1 << 15

#: Integers as wide as a number of each format.
_BITS_OF = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def keep_bits(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """A CPU tensor of integers as wide as `dtype`: 0, with `probability`, and -1 (all bits set) elsewhere."""
    count = shape.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_().view(torch.int16)[:count]
    # int64.random_() leaves the sign bit 0, so the uppermost of each 16 bits is not random.
    bits.bitwise_and_(_LEVELS - 1)
    # Negative where an element is kept; the shift spreads the sign over all bits.
    kept = torch.rsub(bits, _threshold(probability) - 1).bitwise_right_shift_(15)
    return kept.view(shape).to(_BITS_OF[dtype])


def keep_scale(probability: float) -> float:
    """What the kept elements are multiplied by, so that the mean stays."""
    return _LEVELS / (_LEVELS - _threshold(probability))


def clear(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """`x` where `bits` is -1, 0 where it is 0."""
    return x.view(bits.dtype).bitwise_and(bits).view(x.dtype)


def dropout(x: torch.Tensor, probability: float) -> torch.Tensor:
    """Zero elements with `probability` and scale the rest, so that the mean stays."""
    if not probability:
        return x
    if x.device.type == "cpu":
        output: torch.Tensor = _CpuDropout.apply(x, probability)
        return output
    return functional.dropout(x, probability)


class _CpuDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, probability: float) -> torch.Tensor:
        bits = keep_bits(x.shape, probability, x.dtype)
        ctx.save_for_backward(bits)
        ctx.scale = keep_scale(probability)
        return clear(x, bits).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (bits,) = ctx.saved_tensors
        return clear(gradients[0], bits).mul_(ctx.scale), None


def _threshold(probability: float) -> int:
    return round(probability * _LEVELS)
