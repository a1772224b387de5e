"""kernels.cu compiles for each generation of GPUs; tests/gpu runs it."""

from __future__ import annotations

import pytest
import torch

from cuda_kernels import FORMATS, machine_code

#: T4, A100, A10G, L4 and L40S, H100 and H200, B200, RTX PRO 6000.
GENERATIONS = ["75", "80", "86", "89", "90", "100", "120"]


@pytest.mark.parametrize("capability", GENERATIONS)
@pytest.mark.parametrize(("part", "width"), [("NORM", 768), ("GELU", 3072)])
def test_it_compiles_for_every_generation(part: str, width: int, capability: str) -> None:
    assert machine_code(part, torch.float16, width, capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("capability", ["75", "90"])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize(("part", "width"), [("NORM", 31), ("NORM", 1024), ("GELU", 31)])
def test_it_compiles_for_every_format_and_any_width(part: str, width: int, dtype: torch.dtype, capability: str) -> None:
    assert machine_code(part, dtype, width, capability).startswith(b"\x7fELF")


def test_what_cannot_be_compiled_is_shown() -> None:
    with pytest.raises(RuntimeError, match="kernels.cu cannot be compiled.*\n.*error"):
        machine_code("NORM", torch.float32, 0, "90")
