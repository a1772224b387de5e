"""Number formats: matrix products in bf16 where the hardware multiplies it faster, all the rest in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


class Precision:
    """The format of the matrix products. Weights, LayerNorm and loss stay fp32."""

    def __init__(self, wanted: str, device: torch.device) -> None:
        self.device = device
        self.is_bf16 = wanted == "bf16" or (wanted == "auto" and _multiplies_bf16(device))
        # Where bf16 is not used, TF32 is what an Ampere GPU has instead; "fp32" asks for the real thing.
        if wanted == "auto" and device.type == "cuda":
            torch.set_float32_matmul_precision("high")

    @property
    def name(self) -> str:
        """As the log shows it."""
        return "bf16" if self.is_bf16 else "fp32"

    def autocast(self) -> AbstractContextManager[None]:
        """Run a forward pass in this format."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_bf16)


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_tile"))
