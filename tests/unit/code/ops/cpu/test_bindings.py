"""The CPU's operations match torch's in double precision: plain torch, and each library that this processor can run."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from text_classifier.ops import reference
from text_classifier.ops.backend import Backend
from text_classifier.ops.compile import library_path
from text_classifier.ops.cpu import bindings
from text_classifier.ops.linear import fused_linear
from text_classifier.ops.processor import instruction_sets
from text_classifier.ops.selftest import Shape, failing
from text_classifier.ops.sequences import Sequences

DTYPES = [torch.float32, torch.bfloat16, torch.float16]

#: More queries than a block holds, and a single token.
LENGTHS = [150, 64, 33, 1]
HEADS = 3


CPU = torch.device("cpu")


Make = Callable[[torch.dtype], Backend]


def native(processor: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The operations of one library, for a dtype."""
    loaded = ctypes.CDLL(str(library_path(f"kernels-{processor}")))
    assert loaded.prepare()
    monkeypatch.setattr(bindings, "_library", lambda: (processor, loaded))
    return lambda dtype: bindings.backend(reference.backend(CPU, dtype), dtype)


@pytest.fixture(params=["torch", *instruction_sets()])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The operations for a dtype, in plain torch and by each library that this processor can run, in turn."""
    if request.param == "torch":
        return lambda dtype: reference.backend(CPU, dtype)
    return native(request.param, monkeypatch)


@pytest.fixture
def ops(make: Make) -> Backend:
    """The operations; only weight_grad depends on the dtype."""
    return make(torch.float32)


def tolerance(dtype: torch.dtype) -> float:
    """For results near 1: the terms of sums are rounded to the dtype, the sums are not."""
    return {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}[dtype]


def assert_near(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    largest = expected.abs().max().item()
    assert (found.double() - expected).abs().max().item() <= tolerance(dtype) * largest


def sequences_of(lengths: list[int]) -> Sequences:
    return Sequences.from_lengths(np.array(lengths))


def attention_in_double(qkv: torch.Tensor, width: int) -> torch.Tensor:
    outputs = []
    for sequence in qkv.split(LENGTHS):
        query, key, value = (part.unflatten(1, (HEADS, width)).transpose(0, 1) for part in sequence.chunk(3, dim=1))
        weights = torch.softmax(query @ key.transpose(1, 2) * width**-0.5, dim=-1)
        outputs.append((weights @ value).transpose(0, 1).flatten(1))
    return torch.cat(outputs)


@pytest.mark.parametrize("width", [20, 40, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_and_its_gradient(ops: Backend, dtype: torch.dtype, width: int) -> None:
    torch.manual_seed(1)
    rounded = torch.randn(sum(LENGTHS), 3 * HEADS * width).to(dtype)
    gradient = torch.randn(sum(LENGTHS), HEADS * width).to(dtype)
    both = []
    for qkv in (rounded.clone().requires_grad_(), rounded.double().requires_grad_()):
        if qkv.dtype == torch.double:
            output = attention_in_double(qkv, width)
        else:
            output = ops.attention(None, qkv, sequences_of(LENGTHS), HEADS, 0.0)
        output.backward(gradient.to(output.dtype))
        both.append((output.detach(), qkv.grad))
    for found, expected in zip(*both, strict=True):
        assert_near(found, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_query_per_sequence_gives_what_all_queries_give_for_it(ops: Backend, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    sequences, width = sequences_of(LENGTHS), HEADS * 32
    firsts = sequences.first_tokens.long()
    qkv = torch.randn(sum(LENGTHS), 3 * width).to(dtype)
    gradient = torch.randn(len(LENGTHS), width).to(dtype)
    full = qkv.clone().requires_grad_()
    expected = ops.attention(None, full, sequences, HEADS, 0.0)[firsts]
    expected.backward(gradient)
    query = qkv[firsts, :width].clone().requires_grad_()
    rest = qkv[:, width:].clone().requires_grad_()
    found = ops.attention(query, rest, sequences, HEADS, 0.0)
    found.backward(gradient)
    assert_near(found.detach(), expected.detach().double(), dtype)
    assert_near(query.grad, full.grad[firsts, :width].double(), dtype)
    assert_near(rest.grad, full.grad[:, width:].double(), dtype)


def test_attention_takes_scores_of_any_size(ops: Backend) -> None:
    """Scores of some thousands: the maximum is subtracted before the exponential."""
    qkv = 60 * torch.randn(sum(LENGTHS), 3 * HEADS * 32)
    output = ops.attention(None, qkv, sequences_of(LENGTHS), HEADS, 0.0)
    expected = attention_in_double(qkv.double(), 32)
    assert (output - expected).abs().max() < 1e-3 * expected.abs().max()


def slope(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[float, float]:
    """The change of a sum of `function` along a random direction: by its gradient, and by differences."""
    weights, direction = torch.randn_like(function(x)), torch.randn_like(x)

    def value(at: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)  # the same mask each time
        return (function(at).double() * weights.double()).sum()

    variable = x.clone().requires_grad_()
    value(variable).backward()
    step = 1e-2
    difference = (value(x + step * direction) - value(x - step * direction)).item() / (2 * step)
    return float((variable.grad * direction).sum()), difference


def test_the_gradient_of_dropout_has_the_mask_of_the_output(ops: Backend) -> None:
    torch.manual_seed(3)
    sequences, norm = sequences_of(LENGTHS), torch.nn.LayerNorm(96)
    residual, bias = torch.randn(sum(LENGTHS), 96), torch.randn(96)
    by_gradient, by_difference = slope(
        lambda x: ops.attention(None, x, sequences, HEADS, 0.4), torch.randn(sum(LENGTHS), 3 * 96)
    )
    assert by_gradient == pytest.approx(by_difference, rel=2e-2)
    by_gradient, by_difference = slope(lambda x: ops.add_and_norm(x, bias, residual, norm, 0.4), residual.clone())
    assert by_gradient == pytest.approx(by_difference, rel=2e-2)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout_of_attention_drops_its_share_and_keeps_the_mean(ops: Backend, probability: float) -> None:
    """With equal scores and values that are 1 for a single key, each output is that key's probability."""
    torch.manual_seed(4)
    length, width = 128, 32
    qkv = torch.zeros(length, 3 * width)
    qkv[torch.arange(width), 2 * width + torch.arange(width)] = 1.0
    sequences = sequences_of([length])
    weights = torch.stack([ops.attention(None, qkv, sequences, 1, probability) for _ in range(50)])
    assert (weights == 0).float().mean().item() == pytest.approx(probability, abs=5e-3)
    assert weights.mean().item() == pytest.approx(1 / length, rel=1e-2)
    kept = (weights != 0).float()
    assert kept.mean((0, 1)).std() < 0.02 and kept.mean((0, 2)).std() < 0.03  # by key, by query
    assert torch.corrcoef(kept.flatten(0, 1).T).fill_diagonal_(0).abs().max() < 0.07  # one key from another


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout(ops: Backend, probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    x = torch.ones(1000, 1003, dtype=dtype, requires_grad=True)
    output = ops.dropout(x, probability)
    output.backward(torch.ones_like(x))
    assert torch.equal(x.grad, output.detach())
    dropped = (output == 0).float()
    assert dropped.mean().item() == pytest.approx(probability, abs=2e-3)
    assert output[output != 0].unique().item() == pytest.approx(1 / (1 - probability), rel=tolerance(dtype))
    assert torch.corrcoef(dropped[:, :20].T).fill_diagonal_(0).abs().max() < 0.15
    second = ops.dropout(x, probability)
    assert ((second == 0) & (output == 0)).float().mean().item() == pytest.approx(probability**2, abs=2e-3)
    assert ops.dropout(x, 0.0) is x


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_and_gelu(ops: Backend, dtype: torch.dtype) -> None:
    torch.manual_seed(7)
    rows, width = 77, 100
    given = [
        torch.randn(rows, width).to(dtype),
        1 + torch.randn(rows, width).to(dtype),
        torch.randn(rows, width).to(dtype),
    ]
    parameters = [torch.randn(width), 1 + 0.1 * torch.randn(width), torch.randn(width)]
    both = []
    for double in (False, True):
        update, residual, gradient = (x.double() if double else x.clone() for x in given)
        bias, weight, norm_bias = (p.double() if double else p.clone() for p in parameters)
        norm = torch.nn.LayerNorm(width, eps=1e-6, dtype=bias.dtype)
        with torch.no_grad():
            norm.weight.copy_(weight)
            norm.bias.copy_(norm_bias)
        for tensor in (update, residual, bias):
            tensor.requires_grad_()
        if double:
            normed, activated = norm(update + bias + residual), functional.gelu(3 * update + bias)
        else:
            normed = ops.add_and_norm(update, bias, residual, norm, 0.0)
            activated = ops.gelu(3 * update, bias)
        normed.backward(gradient, retain_graph=True)
        found = [normed, update.grad, residual.grad, bias.grad, norm.weight.grad, norm.bias.grad]
        update.grad = bias.grad = None
        activated.backward(gradient)
        both.append([tensor.detach() for tensor in (*found, activated, update.grad, bias.grad)])
    for ours, expected in zip(*both, strict=True):
        assert_near(ours, expected, dtype)


@pytest.mark.parametrize("shape", [(1, 8, 8), (100, 48, 80), (700, 400, 900)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradients_of_linear(make: Make, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(8)
    ops = make(dtype)
    rows, inputs, outputs = shape
    x, gradient = torch.randn(rows, inputs).to(dtype), torch.randn(rows, 2 * outputs).to(dtype)
    modules = [torch.nn.Linear(inputs, outputs) for _ in range(2)]
    fused_linear(ops, x.requires_grad_(), modules, has_bias=True)[0].backward(gradient)
    weight = torch.cat([module.weight.detach() for module in modules]).to(dtype).double()
    assert_near(x.grad, gradient.double() @ weight, dtype)
    d_weight = torch.cat([module.weight.grad for module in modules])
    d_bias = torch.cat([module.bias.grad for module in modules])
    assert_near(
        d_weight,
        gradient.double().T @ x.detach().double(),
        torch.float32 if ops.names["weight_grad"] == "amx" else dtype,
    )
    assert_near(d_bias, gradient.double().sum(0), torch.float32)


@pytest.mark.parametrize("processor", instruction_sets())
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(
    dtype: torch.dtype, processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of native operations; torch's own sums depend on it."""
    ops = native(processor, monkeypatch)(dtype)

    def everything() -> list[torch.Tensor]:
        torch.manual_seed(9)
        width = HEADS * 32
        x = torch.randn(sum(LENGTHS), width).to(dtype).requires_grad_()
        norm, project = torch.nn.LayerNorm(width), torch.nn.Linear(width, 3 * width)
        attended = ops.attention(
            None, fused_linear(ops, x, [project], has_bias=True)[0], sequences_of(LENGTHS), HEADS, 0.2
        )
        normed = ops.add_and_norm(attended, norm.bias, x, norm, 0.2)
        output = ops.dropout(ops.gelu(normed, norm.bias), 0.2)
        output.float().square().sum().backward()
        return [output.detach(), x.grad, norm.weight.grad, norm.bias.grad, project.weight.grad, project.bias.grad]

    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(everything())
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(ops: Backend, wrong: float, dtype: torch.dtype) -> None:
    width = HEADS * 32
    qkv = torch.randn(sum(LENGTHS), 3 * width).to(dtype)
    qkv[10, 2 * width + 3] = wrong  # a value of the first sequence
    output = ops.attention(None, qkv, sequences_of(LENGTHS), HEADS, 0.1)
    assert not output[: LENGTHS[0], 3].isfinite().any()
    assert output[LENGTHS[0] :].isfinite().all()
    qkv[10, width + 3] = torch.nan  # a key
    output = ops.attention(None, qkv, sequences_of(LENGTHS), HEADS, 0.1)
    assert not output[: LENGTHS[0], :32].isfinite().any()
    x = torch.randn(4, width).to(dtype)
    x[1, 5] = wrong
    norm = torch.nn.LayerNorm(width)
    normed = ops.add_and_norm(x, torch.zeros(width), x, norm, 0.1)
    assert not normed[1].isfinite().any()
    assert normed[0].isfinite().all()
    assert ops.gelu(x, torch.zeros(width))[1, 5].isfinite().logical_not()


@pytest.mark.parametrize("length", [2, 16, 40, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_library_passes_the_self_test_with_the_masks_of_the_reference(
    make: Make, dtype: torch.dtype, length: int
) -> None:
    """Of which a job takes the fastest library alone."""
    ops = make(dtype)
    if ops.fallback:
        assert failing(ops, CPU, dtype, Shape(4, 96, 200, (96, 32), (0.1,), (length,))) == {}


def test_without_a_library_or_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"kernels-avx2\.so is missing and cannot be compiled here \(.*g\+\+"):
        library_path("kernels-avx2")
