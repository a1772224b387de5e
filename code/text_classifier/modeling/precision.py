"""Number formats: matrix products in 16 bits where the hardware multiplies those faster, all the rest in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: torch.amp.GradScaler's own: where the scale begins, and after how many steps without an overflow it doubles.
FIRST_SCALE = 2.0**16
STEPS_TO_GROW = 2_000


class Precision:
    """The format of the matrix products. Weights, LayerNorm and loss stay fp32."""

    def __init__(self, wanted: str, device: torch.device) -> None:
        self.device = device
        self.name = fastest(device) if wanted == "auto" else wanted
        self.dtype = DTYPES[self.name]
        # Where neither 16-bit format is used, TF32 is what an Ampere GPU has instead; "fp32" asks for the real thing.
        if wanted == "auto" and device.type == "cuda":
            torch.set_float32_matmul_precision("high")

    def autocast(self) -> AbstractContextManager[None]:
        """Run a forward pass in this format."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def loss_scale(self) -> LossScale:
        """What the losses of a training in this format are multiplied by."""
        return LossScale(self.device, is_used=self.dtype == torch.float16)


class LossScale:
    """Keeps gradients in the narrow range of fp16; 1 for the other formats, and always.

    A step whose gradients overflow is left out and halves the scale. All of it stays on the device: no step waits.
    """

    def __init__(self, device: torch.device, *, is_used: bool) -> None:
        self.is_used = is_used
        self.value = torch.full((), FIRST_SCALE if is_used else 1.0, device=device)
        self._good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, overflowed: torch.Tensor) -> None:
        """Take in whether a step overflowed: 1.0 or 0.0."""
        torch._amp_update_scale_(self.value, self._good_steps, overflowed, 2.0, 0.5, STEPS_TO_GROW)

    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        return [self.value.item(), self._good_steps.item()]

    def restore(self, state: list[float]) -> None:
        """Go on where `state` was taken."""
        self.value.fill_(state[0])
        self._good_steps.fill_(int(state[1]))


def fastest(device: torch.device) -> str:
    """The format that the hardware multiplies fastest: bf16 on GPUs from Ampere on and on CPUs with AMX, fp16 on older
    GPUs.

    AVX512-BF16 alone does not count: a Xeon whose AMX is hidden by the virtual machine has it, and was measured to
    multiply bf16 at half the speed of fp32. To try and see at the start of each job would make results differ between
    two runs of one job.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"
