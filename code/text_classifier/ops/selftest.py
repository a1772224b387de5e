"""Chooses the operations of a job: native ones that compute the same as plain torch on this machine, here and now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from text_classifier.contract.errors import PlatformError
from text_classifier.ops import reference
from text_classifier.ops.backend import TORCH, Backend
from text_classifier.ops.choice import VARIABLE, choice, reason_of
from text_classifier.ops.linear import PREPACKED_ROWS, PrepackedWeights
from text_classifier.ops.processor import has_bf16, has_onednn
from text_classifier.ops.sequences import Sequences

#: Largest difference to plain torch, relative to the largest element: sums are in another order, and intermediate
#: results are rounded to the dtype at other places. Measured with AVX2 and AVX-512, widths of 32 to 1024: 1.4e-6, 8e-3
#: and 9e-4.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
#: The same of `adamw`. torch's on a GPU computes 1 - beta2 in fp32, which is 1.3e-5 less than 0.001.
ADAMW_TOLERANCE = 2e-5

#: The longest sequence, at most: more queries than a block of the CPU's attention holds, as many as the GPU's can.
LONGEST = 128
#: The others: an odd number of tokens, and a single one.
LENGTHS = (17, 2, 1)
#: Of other operations.
ROWS = 148


@dataclass(frozen=True)
class Shape:
    """What a job computes: the native operations are tested at this shape."""

    heads: int
    width: int  #: of the layers
    inner_width: int  #: of the feed-forward network
    norm_widths: tuple[int, ...]  #: of the layers and of the embeddings
    dropouts: tuple[float, ...]  #: all probabilities of dropout
    max_seqlens: tuple[int, ...] = (LONGEST,)  #: of its splits


def choose(device: torch.device, dtype: torch.dtype, shape: Shape | None) -> Backend:
    """The operations for a job; without a shape, for one that takes nothing but `adamw` from here.

    Prints one WARNING if plain torch has to replace native operations. TEXT_OPS=reference takes plain torch for all,
    TEXT_OPS=native raises PlatformError instead of replacing any. Raises SettingsError for another value.
    """
    wanted = choice()
    plain = reference.backend(device, dtype)
    if shape is None:
        plain = replace(plain, names={"adamw": TORCH})
    if wanted == "reference" or (shape is None and device.type == "cpu"):
        return plain
    try:
        native = _native(plain, device, dtype, shape)
    except Exception as error:  # whatever is wrong with the native operations, torch's own do
        found, failures = plain, {"all native operations": reason_of(error)}
    else:
        failures = failing(native, device, dtype, shape)
        found = native.without(failures)
    may_prepack = PREPACKED_ROWS[dtype] and has_onednn() and (dtype == torch.float32 or has_bf16())
    if shape is not None and device.type == "cpu" and may_prepack:
        try:
            _require_prepacked_matmuls(dtype, shape)
            found = replace(found, prepacked_rows=PREPACKED_ROWS[dtype])
        except Exception as error:
            failures["matmuls with prepacked weights"] = reason_of(error)
    if failures:
        sentence = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        if wanted == "native":
            raise PlatformError(
                f"{VARIABLE}=native, and native operations cannot be used ({sentence}); set {VARIABLE}=auto to train "
                "with PyTorch's own"
            )
        print(f"WARNING: PyTorch's own operations replace native ones, and the job is slower: {sentence}", flush=True)
    return found


def _native(plain: Backend, device: torch.device, dtype: torch.dtype, shape: Shape | None) -> Backend:
    # Imported here: neither is needed where plain torch is used.
    if device.type == "cuda":
        from text_classifier.ops.cuda import bindings as cuda

        if shape is None:
            return cuda.backend(plain, device, dtype, None)
        return cuda.backend(plain, device, dtype, shape.width // shape.heads, min(shape.max_seqlens))
    from text_classifier.ops.cpu import bindings as cpu

    return cpu.backend(plain, dtype)


def failing(native: Backend, device: torch.device, dtype: torch.dtype, shape: Shape | None) -> dict[str, str]:
    """The native operations that do not compute what plain torch does, each with the reason."""
    assert native.fallback is not None
    expected = replace(native.fallback, attention=partial(reference.attention, bits=native.attention_bits))
    failures = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for name in native.names:
            if native.names[name] == TORCH:
                continue
            test = partial(TESTS[name], device=device, dtype=dtype, shape=shape)
            try:
                with torch.enable_grad():
                    tolerance = ADAMW_TOLERANCE if name == "adamw" else TOLERANCE[dtype]
                    _compare(test(native), test(expected), tolerance)
            except Exception as error:
                failures[name] = reason_of(error)
    return failures


def _compare(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float) -> None:
    """Raises ArithmeticError if results differ by more than the tolerance or that of their dtype. A NaN does."""
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise ArithmeticError(
                f"the result is {one.dtype} {list(one.shape)} instead of {other.dtype} {list(other.shape)}"
            )
        allowed = max(tolerance, TOLERANCE[one.dtype])
        difference = ((one.float() - other.float()).abs().max() / other.float().abs().max().clamp(min=1e-6)).item()
        if not difference <= allowed:
            raise ArithmeticError(f"the result differs from PyTorch's by {difference:.2g}, allowed is {allowed:g}")


def _require_prepacked_matmuls(dtype: torch.dtype, shape: Shape) -> None:
    """Raises if oneDNN's matmuls with prepacked weights fail, or do not compute what torch's do."""
    with torch.random.fork_rng([]), torch.no_grad():
        module, x = nn.Linear(shape.width, shape.inner_width), torch.randn(LENGTHS[0], shape.width).to(dtype)
        found = PrepackedWeights([[module]], dtype).linear(x, [module], has_bias=True)
        _compare([found], [module.to(dtype)(x)], TOLERANCE[dtype])


class _Case:
    """Random inputs and gradients, equal at each call with the same shape and dtype."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._generator = torch.Generator().manual_seed(1)
        self._device, self._dtype = device, dtype
        torch.manual_seed(2)  # of dropout
        self.inputs: list[Tensor] = []

    def random(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(*shape, generator=self._generator).to(self._device, dtype or self._dtype)

    def input(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        self.inputs.append(self.random(*shape, dtype=dtype).requires_grad_())
        return self.inputs[-1]

    def results(self, output: Tensor) -> list[Tensor]:
        """The output and the gradients of all inputs."""
        output.backward(self.random(*output.shape))
        return [output.detach(), *(tensor.grad for tensor in self.inputs if tensor.grad is not None)]


def _attention(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape) -> list[Tensor]:
    results = []
    # Powers of two, for which the GPU's attention is compiled.
    longest = sorted({min(LONGEST, 1 << (length - 1).bit_length()) for length in shape.max_seqlens})
    for first, dropout_p, has_one_query in product(longest, sorted({0.0, *shape.dropouts}), (False, True)):
        lengths = [first, *(min(first, length) for length in LENGTHS)]
        sequences = Sequences.from_lengths(np.array(lengths)).to(device, non_blocking=True)
        case = _Case(device, dtype)
        query = case.input(len(lengths), shape.width) if has_one_query else None
        qkv = case.input(sum(lengths), (2 if has_one_query else 3) * shape.width)
        results += case.results(ops.attention(query, qkv, sequences, shape.heads, dropout_p))
    return results


def _add_and_norm(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape) -> list[Tensor]:
    results = []
    for width, dropout_p in product(shape.norm_widths, sorted({0.0, *shape.dropouts})):
        case = _Case(device, dtype)
        norm = nn.LayerNorm(width, device=device)
        norm.weight = nn.Parameter(case.random(width, dtype=torch.float32))
        update, residual, bias = (
            case.input(ROWS, width),
            case.input(ROWS, width),
            case.input(width, dtype=torch.float32),
        )
        case.inputs += [norm.weight, norm.bias]
        results += case.results(ops.add_and_norm(update, bias, residual, norm, dropout_p))
    return results


def _gelu(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape) -> list[Tensor]:
    case = _Case(device, dtype)
    x, bias = case.input(ROWS, shape.inner_width), case.input(shape.inner_width, dtype=torch.float32)
    return case.results(ops.gelu(x, bias))


def _dropout(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape) -> list[Tensor]:
    results = []
    for dropout_p in {*shape.dropouts} or {0.5}:
        case = _Case(device, dtype)
        results += case.results(ops.dropout(case.input(ROWS, shape.width), dropout_p))
    return results


def _weight_grad(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape) -> list[Tensor]:
    case = _Case(device, dtype)
    return [ops.weight_grad(case.random(ROWS, shape.inner_width), case.random(ROWS, shape.width))]


def _bias_grad(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape) -> list[Tensor]:
    return [ops.bias_grad(_Case(device, dtype).random(ROWS, shape.inner_width))]


def _adamw(ops: Backend, device: torch.device, dtype: torch.dtype, shape: Shape | None) -> list[Tensor]:
    """Two steps, and one that is skipped, with weight decay, shadow weights and a learning rate for each group."""
    case = _Case(device, dtype)
    parameters = [case.input(*size, dtype=torch.float32) for size in ((33, 70), (70,), (1,))]
    shadows = {parameter: parameter.detach().to(dtype) for parameter in parameters[:2]}
    shadows = {} if dtype == torch.float32 else shadows
    groups = [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:], "weight_decay": 0.0}]
    optimizer = ops.adamw(groups, torch.tensor([1e-2, 3e-3], device=device), 1e-8, shadows)
    for found_inf in (0.0, 1.0, 0.0):
        for parameter in parameters:
            parameter.grad = case.random(*parameter.shape, dtype=torch.float32)
        optimizer.grad_scale = torch.tensor(3.0, device=device)
        optimizer.found_inf = torch.tensor(found_inf, device=device)
        optimizer.step()
    moments = [optimizer.state[parameter][name] for parameter in parameters for name in ("exp_avg", "exp_avg_sq")]
    return [*(parameter.detach() for parameter in parameters), *shadows.values(), *moments]


TESTS: dict[str, Callable[..., list[Tensor]]] = {
    "attention": _attention, "add_and_norm": _add_and_norm, "gelu": _gelu, "dropout": _dropout,
    "weight_grad": _weight_grad, "bias_grad": _bias_grad, "adamw": _adamw,
}  # fmt: skip
