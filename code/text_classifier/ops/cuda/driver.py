"""CUDA C++ that lies beside this file: compiled when it is first used, and run behind what torch gave the GPU."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

CODE = Path(__file__).parent

#: As in ptx.cuh.
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """How many the GPU has."""
    return torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def capability(device: torch.device) -> tuple[int, int]:
    """The GPU's compute capability."""
    return torch.cuda.get_device_capability(device)


def _stream(device: torch.device) -> int:
    """The current one; the calling thread, one of autograd's perhaps, is made to work in the device's context."""
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
    like: torch.Tensor,
    sizes: Mapping[str, int],
    blocks: tuple[int, int],
    threads: int,
    *arguments: torch.Tensor | int | float | ctypes.Structure | None,
    shared_bytes: int = 0,
) -> None:
    """Run a kernel on numbers like those of a tensor, behind what the GPU was given before.

    `sizes` are what it is compiled for.
    """
    stream = _stream(like.device)
    driver, kernel = _compiled(name, like.dtype, tuple(sizes.items()), shared_bytes, like.device)
    values = [_argument(argument) for argument in arguments]
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    grid = (*blocks, 1, threads, 1, 1)
    _require(driver.cuLaunchKernel(kernel, *grid, shared_bytes, stream, ctypes.addressof(pointers), 0))


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
    """The driver's interface, and a kernel that may have so much shared memory."""
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

    (module,) = _require(
        driver.cuModuleLoadData(machine_code(part, dtype, dict(sizes), "".join(map(str, capability(device)))))
    )
    return module


def machine_code(part: str, dtype: torch.dtype, sizes: dict[str, int], capability: str) -> bytes:
    """A file of CUDA C++ here, such as norm.cu, compiled for such sizes on GPUs of a capability such as "90".

    No GPU is needed.
    """
    from cuda.bindings import nvrtc

    source = CODE / f"{part}.cu"
    defined = {"DTYPE": DTYPES[dtype], **sizes}
    options = [f"--gpu-architecture=sm_{capability}", f"--include-path={CODE}"]
    options += [f"-D{name}={value}" for name, value in defined.items()]
    (program,) = _require(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], []))
    try:
        _require(nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options]))
    except RuntimeError as error:
        (size,) = _require(nvrtc.nvrtcGetProgramLogSize(program))
        log = b" " * size
        _require(nvrtc.nvrtcGetProgramLog(program, log))
        raise RuntimeError(f"{source.name} cannot be compiled with {options}:\n{log.decode()}") from error
    (size,) = _require(nvrtc.nvrtcGetCUBINSize(program))
    code = b" " * size
    _require(nvrtc.nvrtcGetCUBIN(program, code))
    _require(nvrtc.nvrtcDestroyProgram(program))
    return code


def _require(answer: Sequence[Any]) -> Sequence[Any]:
    """What a function of CUDA returns behind its status. Raises RuntimeError."""
    if answer[0]:
        raise RuntimeError(f"CUDA: {answer[0]!r}")
    return answer[1:]
