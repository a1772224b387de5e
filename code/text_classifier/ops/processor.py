"""What this CPU can do. ATEN_CPU_CAPABILITY=avx2, a variable of PyTorch, restricts all of it to AVX2.

https://docs.pytorch.org/docs/stable/generated/torch.cpu.get_capabilities.html
"""

from __future__ import annotations

import torch


def instruction_sets() -> list[str]:
    """Those of ops/cpu that this CPU has, the fastest first: amx, avx512, avx2."""
    names = {"amx": "amx_bf16", "avx512": "avx512_f", "avx2": "avx2"}
    return [short for short, name in names.items() if _has(name)]


def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 at all; other CPUs convert each number."""
    return _has("amx_bf16") or _has("avx512_bf16")


def is_bf16_faster() -> bool:
    """Whether matmuls in bf16 are faster than in fp32: with AMX, and with the AVX512-BF16 of AMD.

    With that of Intel they are not: a Xeon whose AMX the virtual machine hides took twice as long as in fp32; an EPYC
    of family 26 took a quarter. Measuring at the start of each job would make two runs of one job differ.
    """
    is_amd = str(torch.cpu.get_capabilities().get("cpu_name", "")).startswith("AMD")
    return _has("amx_bf16") or (is_amd and _has("avx512_bf16"))


def has_onednn() -> bool:
    """Whether oneDNN has matmuls for this CPU: on x86-64 with AVX2 at least, unless torch is built without it."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def _has(name: str) -> bool:
    is_restricted = name != "avx2" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return bool(torch.cpu.get_capabilities().get(name)) and not is_restricted
