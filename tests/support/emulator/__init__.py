"""Runs ops/cuda on CPU tensors: its kernels compiled for the CPU, their threads one after the other."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from support.emulator.libraries import Sizes, library


class Driver:
    """The function of CUDA's driver that `launch` calls."""

    def __init__(self, part: str, dtype: str, sizes: Sizes) -> None:
        self._library = ctypes.CDLL(str(library(part, dtype, sizes)))

    def cuLaunchKernel(
        self, kernel: str, across: int, down: int, _: int, threads: int, __: int, ___: int, shared_bytes: int,
        stream: int, arguments: int, extra: int,
    ) -> tuple[int]:  # fmt: skip
        """Run a kernel to its end."""
        launch = self._library[f"launch_{kernel.rpartition('_')[2]}"]
        launch(across, down, threads, shared_bytes, ctypes.c_void_p(arguments))
        return (0,)


def install(monkeypatch: Any) -> None:
    """Let ops/cuda work on CPU tensors."""
    from text_classifier.ops.cuda import bindings, driver

    libraries = functools.cache(Driver)

    def compiled(name: str, dtype: Any, sizes: Sizes, shared_bytes: int, device: Any) -> tuple[Driver, str]:
        return libraries(name.partition("_")[0], str(dtype).removeprefix("torch."), sizes), name

    monkeypatch.setattr(driver, "_compiled", compiled)
    monkeypatch.setattr(driver, "_stream", lambda device: 0)
    monkeypatch.setattr(bindings, "multiprocessors", lambda device: 2)
    monkeypatch.setattr(bindings, "capability", lambda device: (9, 0))
