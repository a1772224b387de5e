"""Compile-time constants that the kernels share with their callers, passed as -D definitions: see driver.py.

Does not import torch: the emulator of the tests (tests/support/emulator) is built without it.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Lanes of a warp.
WARP = 32

#: By source file. THREADS: of a block. adamw.cu: tensors per launch, whose arguments may take 4 KB.
CONSTANTS = {
    "adamw": {"THREADS": 256, "ELEMENTS_PER_THREAD": 8, "TENSORS": 64},
    "gelu": {"THREADS": 128},
    "norm": {"THREADS": 128},
    "sums": {"THREADS": 256},
}


def definitions(part: str, dtype: str, sizes: Mapping[str, int]) -> list[str]:
    """The compiler's -D flags for `part`.cu. dtype: torch's name of scalar_t, such as "bfloat16"."""
    defined = {f"DTYPE_{dtype.upper()}": 1, **CONSTANTS.get(part, {}), **sizes}
    return [f"-D{name}={value}" for name, value in defined.items()]
