"""Mixed precision: matmuls in 16 bits where the hardware is faster at them, everything else in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from text_classifier.ops.processor import is_bf16_faster

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: The defaults of torch.amp.GradScaler: the initial scale, and the steps without overflow after which it doubles.
FIRST_SCALE = 2.0**16
STEPS_TO_GROW = 2_000


class Precision:
    """The dtype of matmuls. Weights, LayerNorm and loss stay fp32."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.device = device
        self.name = fastest(device) if name == "auto" else name
        self.dtype = DTYPES[self.name]
        # fp32 matmuls that remain may use TF32; precision=fp32 asks for full precision.
        if name == "auto" and device.type == "cuda":
            torch.set_float32_matmul_precision("high")

    def autocast(self) -> AbstractContextManager[None]:
        """Context of a forward pass in this dtype."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def loss_scale(self) -> LossScale:
        """A loss scale for training in this dtype; only fp16 needs one."""
        return LossScale(self.device, is_used=self.dtype == torch.float16)


class LossScale:
    """Scales the loss so that gradients stay within fp16's range; always 1 for other dtypes.

    A step whose gradients overflow is skipped and halves the scale, which stays on the device: no step waits for it.
    """

    def __init__(self, device: torch.device, *, is_used: bool) -> None:
        self.is_used = is_used
        self.value = torch.full((), FIRST_SCALE if is_used else 1.0, device=device)
        self._good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, overflowed: torch.Tensor) -> None:
        """Adjust the scale after a step; overflowed: 1.0 or 0.0."""
        torch._amp_update_scale_(self.value, self._good_steps, overflowed, 2.0, 0.5, STEPS_TO_GROW)

    def state(self) -> list[float]:
        """The state for a checkpoint."""
        return [self.value.item(), self._good_steps.item()]

    def restore(self, state: list[float]) -> None:
        """Restore `state()`."""
        self.value.fill_(state[0])
        self._good_steps.fill_(int(state[1]))


def fastest(device: torch.device) -> str:
    """The dtype of the fastest matmuls: bf16 on GPUs since Ampere, fp16 on older ones; on a CPU see processor.py."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if is_bf16_faster() else "fp32"
