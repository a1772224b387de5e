"""cuda_kernels.py on CPU tensors: its kernels compiled for the processor, their threads run one after the other."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from support.emulator.libraries import Sizes, library


class Driver:
    """What cuda_driver.py uses of CUDA's driver."""

    def __init__(self, part: str, form: str, sizes: Sizes) -> None:
        self._library = ctypes.CDLL(str(library(part, form, sizes)))

    def cuLaunchKernel(
        self, kernel: str, across: int, down: int, _: int, threads: int, __: int, ___: int, shared_bytes: int,
        stream: int, arguments: int, extra: int,
    ) -> tuple[int]:  # fmt: skip
        """Run a kernel, and wait for it."""
        launch = self._library[f"launch_{kernel.rpartition('_')[2]}"]
        launch(across, down, threads, shared_bytes, ctypes.c_void_p(arguments))
        return (0,)


def install(monkeypatch: Any) -> None:
    """Let cuda_kernels.py work on CPU tensors."""
    from text_classifier.ops.cuda import bindings as cuda_kernels
    from text_classifier.ops.cuda import driver as cuda_driver

    drivers = functools.cache(Driver)

    def compiled(name: str, dtype: Any, sizes: Sizes, shared_bytes: int, device: Any) -> tuple[Driver, str]:
        return drivers(name.partition("_")[0], str(dtype).removeprefix("torch."), sizes), name

    monkeypatch.setattr(cuda_driver, "_compiled", compiled)
    monkeypatch.setattr(cuda_driver, "_stream", lambda device: 0)
    monkeypatch.setattr(cuda_kernels, "multiprocessors", lambda device: 2)
