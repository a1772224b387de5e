"""Number formats: matrix products in bf16 where the hardware multiplies it faster, all the rest in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


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
    """Whether bf16 is the faster format: on GPUs from Ampere on, and on CPUs with AMX.

    AVX512-BF16 alone does not count: a Xeon whose AMX is hidden by the virtual machine has it, and was measured to
    multiply bf16 at half the speed of fp32. To try and see at the start of each job would make results differ between
    two runs of one job.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))
