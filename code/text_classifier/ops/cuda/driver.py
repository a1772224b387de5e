"""Compiles this folder's CUDA C++ with NVRTC on first use, and launches its kernels on torch's current stream."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from text_classifier.ops.cuda.constants import definitions

CODE = Path(__file__).parent


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """Number of streaming multiprocessors of the GPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def capability(device: torch.device) -> tuple[int, int]:
    """The GPU's compute capability."""
    return torch.cuda.get_device_capability(device)


def _stream(device: torch.device) -> int:
    """torch's current stream. Also makes the device's context current: the calling thread may be one of autograd's."""
    from cuda.bindings import driver

    _require(driver.cuCtxSetCurrent(_context(device)))
    return torch.cuda.current_stream(device).cuda_stream


@functools.cache
def _context(device: torch.device) -> Any:
    from cuda.bindings import driver

    index = torch.cuda.current_device() if device.index is None else device.index
    (handle,) = _require(driver.cuDeviceGet(index))
    (context,) = _require(driver.cuDevicePrimaryCtxRetain(handle))
    return context


def launch(
    name: str,
    arguments: Sequence[torch.Tensor | int | float | ctypes.Structure | None],
    *,
    like: torch.Tensor,
    grid: tuple[int, int],
    threads: int,
    sizes: Mapping[str, int] | None = None,
    shared_bytes: int = 0,
) -> None:
    """Launch the kernel `name`, compiled for the dtype of `like` and for `sizes`, on its device's current stream.

    Arguments are passed by their Python type: a tensor as a pointer, None as null, int as uint32, float as float. The
    kernel's parameters must match: nothing checks them.
    """
    stream = _stream(like.device)
    driver, kernel = _compiled(name, like.dtype, tuple((sizes or {}).items()), shared_bytes, like.device)
    values = [_argument(argument) for argument in arguments]
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    dimensions = (*grid, 1, threads, 1, 1)
    _require(driver.cuLaunchKernel(kernel, *dimensions, shared_bytes, stream, ctypes.addressof(pointers), 0))


def _argument(value: torch.Tensor | int | float | ctypes.Structure | None) -> Any:
    if isinstance(value, ctypes.Structure):
        return value
    if isinstance(value, torch.Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if value is None:
        return ctypes.c_void_p()
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_uint32(value)


@functools.cache
def _compiled(
    name: str, dtype: torch.dtype, sizes: tuple[tuple[str, int], ...], shared_bytes: int, device: torch.device
) -> tuple[Any, Any]:
    """CUDA's driver API, and a kernel that may use `shared_bytes` of dynamic shared memory."""
    from cuda.bindings import driver

    (kernel,) = _require(
        driver.cuModuleGetFunction(_module(name.partition("_")[0], dtype, sizes, device), name.encode())
    )
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _require(driver.cuFuncSetAttribute(kernel, attribute, shared_bytes))
    return driver, kernel


@functools.cache
def _module(part: str, dtype: torch.dtype, sizes: tuple[tuple[str, int], ...], device: torch.device) -> Any:
    from cuda.bindings import driver

    code = compile_kernels(part, dtype, dict(sizes), int("".join(map(str, capability(device)))))
    (module,) = _require(driver.cuModuleLoadData(code))
    return module


def compile_kernels(part: str, dtype: torch.dtype, sizes: Mapping[str, int], capability: int) -> bytes:
    """`part`.cu compiled for GPUs of a compute capability such as 90; needs no GPU. Raises RuntimeError.

    For a generation that NVRTC does not know, PTX of the newest one before it, which the GPU's driver compiles.
    """
    from cuda.bindings import nvrtc

    source = CODE / f"{part}.cu"
    known = sorted(_require(nvrtc.nvrtcGetSupportedArchs())[0])
    target = max((arch for arch in known if arch <= capability), default=known[0])
    is_exact = target == capability
    options = [f"--gpu-architecture={'sm' if is_exact else 'compute'}_{target}", f"--include-path={CODE}"]
    options += definitions(part, str(dtype).removeprefix("torch."), sizes)
    (program,) = _require(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], []))
    try:
        _require(nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options]))
    except RuntimeError as error:
        (size,) = _require(nvrtc.nvrtcGetProgramLogSize(program))
        log = b" " * size
        _require(nvrtc.nvrtcGetProgramLog(program, log))
        reason = log.rstrip(b"\0").decode().strip() or error
        raise RuntimeError(f"{source.name} cannot be compiled: {reason}\n({' '.join(options)})") from error
    (size,) = _require(nvrtc.nvrtcGetCUBINSize(program) if is_exact else nvrtc.nvrtcGetPTXSize(program))
    code = b" " * size
    _require(nvrtc.nvrtcGetCUBIN(program, code) if is_exact else nvrtc.nvrtcGetPTX(program, code))
    _require(nvrtc.nvrtcDestroyProgram(program))
    return code


def _require(result: Sequence[Any]) -> Sequence[Any]:
    """The values after the status code that each CUDA function returns first. Raises RuntimeError on failure."""
    if result[0]:
        raise RuntimeError(f"CUDA: {result[0]!r}")
    return result[1:]
