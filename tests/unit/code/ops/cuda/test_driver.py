"""The driver's calls to torch and to CUDA, which are faked here; tests/gpu makes the real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from cuda.bindings import driver

from text_classifier.ops.cuda import driver as cuda_driver
from text_classifier.ops.cuda.constants import definitions


def test_a_kernel_is_compiled_for_the_gpu_and_run_on_its_current_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    device, called = torch.device("cuda", 0), {}
    answers = {
        "cuDeviceGet": 1, "cuDevicePrimaryCtxRetain": 2, "cuCtxSetCurrent": None, "cuModuleLoadData": 3,
        "cuModuleGetFunction": 4, "cuFuncSetAttribute": None, "cuLaunchKernel": None,
    }  # fmt: skip

    def asked(name: str) -> Any:
        def answer(*arguments: Any) -> tuple[int, ...]:
            called[name] = arguments
            return (0,) if answers[name] is None else (0, answers[name])

        return answer

    for name in answers:
        monkeypatch.setattr(driver, name, asked(name))
    # torch's own functions, which must have these names: they are only given an answer.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=132))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=7))
    caches: list[Any] = [
        cuda_driver.capability, cuda_driver.multiprocessors, cuda_driver._context, cuda_driver._compiled,
        cuda_driver._module,
    ]  # fmt: skip
    try:
        like = cast(torch.Tensor, SimpleNamespace(dtype=torch.float32, device=device))
        cuda_driver.launch(
            "sums_columns", (torch.zeros(1), 3, 1.5, None), like=like, grid=(5, 1), threads=256, shared_bytes=64
        )
        assert cuda_driver.multiprocessors(device) == 132
    finally:
        for cache in caches:
            cache.cache_clear()
    assert called["cuCtxSetCurrent"] == (2,)
    assert called["cuModuleLoadData"][0].startswith(b"\x7fELF")
    assert called["cuModuleGetFunction"] == (3, b"sums_columns")
    assert called["cuLaunchKernel"][:9] == (4, 5, 1, 1, 256, 1, 1, 64, 7)


def test_a_kernel_is_compiled_with_its_dtype_its_constants_and_its_sizes() -> None:
    flags = ["-DDTYPE_BFLOAT16=1", "-DTHREADS=128", "-DWIDTH=384"]
    assert definitions("norm", "bfloat16", {"WIDTH": 384}) == flags
    assert definitions("attention", "float16", {}) == ["-DDTYPE_FLOAT16=1"]
