"""Number formats: matrix products in bf16 where the hardware multiplies it faster, all the rest in fp32."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import torch

#: bf16 must be so much faster on a CPU to be worth its rounding; where it is faster, it is so by far more.
WORTHWHILE = 1.3


class Precision:
    """The format of the matrix products. Weights, LayerNorm and loss stay fp32."""

    def __init__(self, wanted: str, device: torch.device) -> None:
        self.device = device
        is_bf16 = wanted == "bf16" or (wanted == "auto" and multiplies_bf16_faster(device))
        self.dtype = torch.bfloat16 if is_bf16 else torch.float32
        # Where bf16 is not used, TF32 is what an Ampere GPU has instead; "fp32" asks for the real thing.
        if wanted == "auto" and device.type == "cuda":
            torch.set_float32_matmul_precision("high")

    @property
    def name(self) -> str:
        """As the log shows it."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    def autocast(self) -> AbstractContextManager[None]:
        """Run a forward pass in this format."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def multiplies_bf16_faster(device: torch.device) -> bool:
    """Whether bf16 is the faster format: known for a GPU, measured in a few milliseconds on a CPU.

    The instruction set does not tell: with AMX a CPU multiplies bf16 four times as fast as fp32, and one whose AMX is
    hidden by the virtual machine has AVX512-BF16 and multiplies it at half the speed.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    if not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")):
        return False
    fp32, bf16 = _product_seconds(torch.float32, torch.bfloat16)
    return fp32 > WORTHWHILE * bf16


def _product_seconds(*dtypes: torch.dtype) -> list[float]:
    """The shortest of many runs each, taken in turns, because others use the machine too."""
    matrices = [(torch.ones(256, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)) for dtype in dtypes]
    best = [float("inf")] * len(dtypes)
    for _ in range(25):
        for index, (a, b) in enumerate(matrices):
            started = time.perf_counter()
            torch.matmul(a, b)
            best[index] = min(best[index], time.perf_counter() - started)
    return best
