"""A packed batch on a GPU: what kernels.py is on a CPU, with the same functions of the same promises.

Products of matrices are cuBLAS's, attention is torch's (attention.py); LayerNorm and GELU are in kernels.cu, which is
compiled when they are first used. Nothing here waits for the GPU, and all of it can be recorded in a CUDA graph.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

SOURCE = Path(__file__).with_name("kernels.cu")

#: As in kernels.cu.
FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}

#: Threads of a block, and rows that its warps norm at once.
THREADS, ROWS_OF_BLOCK = 128, 4

#: Blocks for each multiprocessor. Those of the gradients are fewer, because each leaves a row of sums.
BLOCKS_OF_NORM_GRADIENT = 2
BLOCKS_OF_GELU = 16
BLOCKS_OF_GELU_GRADIENT = 8


def add_and_norm(
    update: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, probability: float
) -> torch.Tensor:
    """LayerNorm(residual + dropout(update + bias)): [rows, width], as update and residual are."""
    output: torch.Tensor = _AddAndNorm.apply(update, bias, residual, norm.weight, norm.bias, norm.eps, probability)
    return output


def gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """gelu(x + bias), by the normal distribution: [rows, width]."""
    output: torch.Tensor = _Gelu.apply(x, bias)
    return output


def dropout(x: torch.Tensor, probability: float) -> torch.Tensor:
    """Zero elements with `probability` and scale the rest, so that the mean stays."""
    return functional.dropout(x, probability)


def embedding(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """The rows of the table: [ids, width]. Their gradients are added up as they come, which needs no sorting."""
    return table.weight.index_select(0, ids)


def weight_gradient(d_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """fp32 [outputs, inputs], from [rows, outputs] and [rows, inputs]."""
    if x.dtype == torch.float32:
        return d_output.t() @ x
    return torch.mm(d_output.t(), x, out_dtype=torch.float32)


def bias_gradient(d_output: torch.Tensor) -> torch.Tensor:
    """The sum of all rows, fp32 [outputs]."""
    return d_output.sum(0, dtype=torch.float32)


class _AddAndNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        update: torch.Tensor,
        bias: torch.Tensor,
        residual: torch.Tensor,
        gain: torch.Tensor,
        shift: torch.Tensor,
        epsilon: float,
        probability: float,
    ) -> torch.Tensor:
        update, residual = update.contiguous(), residual.contiguous()
        rows = len(update)
        total, output = torch.empty_like(update), torch.empty_like(update)
        mean, inverse = update.new_empty(2, rows, dtype=torch.float32)
        dropping = _dropping(probability, update.device)
        _launch(
            "norm_forward", update, (math.ceil(rows / ROWS_OF_BLOCK), 1),
            update, bias, residual, gain, shift, total, output, mean, inverse, rows, epsilon, *dropping,
        )  # fmt: skip
        ctx.save_for_backward(total, mean, inverse, gain)
        ctx.dropping = dropping
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        total, mean, inverse, gain = ctx.saved_tensors
        rows, width = total.shape
        d_update, d_residual = torch.empty_like(total), torch.empty_like(total)
        blocks = min(math.ceil(rows / ROWS_OF_BLOCK), BLOCKS_OF_NORM_GRADIENT * _multiprocessors(total.device))
        sums = gain.new_empty(blocks, 3, width)
        _launch(
            "norm_backward", total, (blocks, 1),
            gradients[0].contiguous(), total, mean, inverse, gain, d_update, d_residual, sums, rows, *ctx.dropping,
        )  # fmt: skip
        d_gain, d_shift, d_bias = sums.sum(0)
        return d_update, d_bias, d_residual, d_gain, d_shift, None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        output = torch.empty_like(x)
        _launch("gelu_forward", x, _strips(x, BLOCKS_OF_GELU), x, bias, output, len(x))
        ctx.save_for_backward(x, bias)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, bias = ctx.saved_tensors
        d_x = torch.empty_like(x)
        strips = _strips(x, BLOCKS_OF_GELU_GRADIENT)
        sums = bias.new_empty(strips[1], x.shape[1])
        _launch("gelu_backward", x, strips, gradients[0].contiguous(), x, bias, d_x, sums, len(x))
        return d_x, sums.sum(0)


def _dropping(probability: float, device: torch.device) -> tuple[torch.Tensor | None, int, float]:
    """The seed, drawn on the GPU so that each replay of a graph has another; the threshold below which random 32 bits
    drop an element; what the others are multiplied by."""
    threshold = int(probability * 2**32)
    seed = torch.randint(1 << 62, (), device=device) if threshold else None
    return seed, threshold, 1 / (1 - threshold / 2**32)


def _strips(x: torch.Tensor, blocks: int) -> tuple[int, int]:
    """Blocks side by side for the columns, and how many share the rows."""
    pack = 16 // x.element_size()
    across = math.ceil(x.shape[1] / (THREADS * (1 if x.shape[1] % pack else pack)))
    return across, min(len(x), math.ceil(blocks * _multiprocessors(x.device) / across))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _launch(
    name: str, like: torch.Tensor, blocks: tuple[int, int], *arguments: torch.Tensor | int | float | None
) -> None:
    """Run a kernel for rows like those of a tensor, behind what the GPU was given before."""
    driver, kernels = _compiled(name.partition("_")[0].upper(), like.dtype, like.shape[1], like.device)
    values, types = zip(*map(_argument, arguments), strict=True)
    stream = torch.cuda.current_stream(like.device).cuda_stream
    _require(driver.cuLaunchKernel(kernels[name], *blocks, 1, THREADS, 1, 1, 0, stream, (values, types), 0))


def _argument(value: torch.Tensor | int | float | None) -> tuple[int | float, Any]:
    if isinstance(value, torch.Tensor):
        return value.data_ptr(), ctypes.c_void_p
    if value is None:
        return 0, ctypes.c_void_p
    return value, ctypes.c_float if isinstance(value, float) else ctypes.c_uint32


@functools.cache
def _compiled(part: str, dtype: torch.dtype, width: int, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The driver's interface, and the kernels of a part of kernels.cu by name."""
    from cuda.bindings import driver

    major, minor = torch.cuda.get_device_capability(device)
    (module,) = _require(driver.cuModuleLoadData(machine_code(part, dtype, width, f"{major}{minor}")))
    names = (f"{part.lower()}_{direction}" for direction in ("forward", "backward"))
    return driver, {name: _require(driver.cuModuleGetFunction(module, name.encode()))[0] for name in names}


def machine_code(part: str, dtype: torch.dtype, width: int, capability: str) -> bytes:
    """A part of kernels.cu, compiled for rows of `width` numbers on GPUs of a capability such as "90". No GPU is
    needed."""
    from cuda.bindings import nvrtc

    options = [f"--gpu-architecture=sm_{capability}", f"-D{part}", f"-DFORMAT={FORMATS[dtype]}", f"-DWIDTH={width}"]
    (program,) = _require(nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), b"kernels.cu", 0, [], []))
    try:
        _require(nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options]))
    except RuntimeError as error:
        (size,) = _require(nvrtc.nvrtcGetProgramLogSize(program))
        log = b" " * size
        _require(nvrtc.nvrtcGetProgramLog(program, log))
        raise RuntimeError(f"kernels.cu cannot be compiled with {options}:\n{log.decode()}") from error
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
