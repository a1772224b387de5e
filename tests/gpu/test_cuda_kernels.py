"""Each function of cuda_kernels.py against torch's own in fp64, and its dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import cuda_kernels
from attention import Sequences, attend
from products import linear

GPU = torch.device("cuda")
FORMATS = [torch.float32, torch.bfloat16, torch.float16]
ERROR = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(GPU, dtype).requires_grad_()


def assert_near(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    difference = (found.double() - expected).abs().max() / expected.abs().max()
    assert difference < ERROR[dtype], float(difference)


def exact(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize(("rows", "width"), [(1, 384), (4097, 768), (37, 31), (5, 1024), (1000, 312)])
def test_add_and_norm(rows: int, width: int, dtype: torch.dtype) -> None:
    update, residual = (numbers(rows, width, dtype=dtype, seed=seed) for seed in (1, 2))
    bias, gradient = numbers(width, seed=3), numbers(rows, width, dtype=dtype, seed=4).detach()
    norm = nn.LayerNorm(width, eps=1e-12, device=GPU)
    with torch.no_grad():
        norm.weight += 0.1 * numbers(width, seed=5)
    output = cuda_kernels.add_and_norm(update, bias, residual, norm, 0.0)
    output.backward(gradient)
    own = (update, bias, residual, norm.weight, norm.bias)
    theirs = exact(*own)
    expected = functional.layer_norm(theirs[2] + theirs[0] + theirs[1], (width,), theirs[3], theirs[4], 1e-12)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    for one, other in zip(own, theirs, strict=True):
        assert_near(one.grad, other.grad, dtype)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize(("rows", "width"), [(1, 1536), (4097, 3072), (37, 31), (1000, 1200)])
def test_gelu(rows: int, width: int, dtype: torch.dtype) -> None:
    x, bias, gradient = numbers(rows, width, dtype=dtype), numbers(width, seed=2), numbers(rows, width, seed=3)
    output = cuda_kernels.gelu(x, bias)
    output.backward(gradient.to(dtype))
    theirs = exact(x, bias)
    expected = functional.gelu(theirs[0] + theirs[1])
    expected.backward(gradient.to(dtype).double())
    assert_near(output, expected, dtype)
    assert_near(x.grad, theirs[0].grad, dtype)
    assert_near(bias.grad, theirs[1].grad, dtype)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_linear(dtype: torch.dtype, has_bias: bool) -> None:
    x, gradient = numbers(50, 96, dtype=dtype), numbers(50, 64, dtype=dtype, seed=2).detach()
    modules = [nn.Linear(96, 32, device=GPU) for _ in range(2)]
    output = linear(x, modules, has_bias=has_bias)
    output.backward(gradient)
    parameters = exact(*(module.weight for module in modules), *(module.bias for module in modules))
    (theirs,) = exact(x)
    bias = torch.cat(parameters[2:]) if has_bias else None
    expected = functional.linear(theirs, torch.cat(parameters[:2]), bias)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    assert_near(x.grad, theirs.grad, dtype)
    own = [module.weight for module in modules] + [module.bias for module in modules if has_bias]
    for one, other in zip(own, parameters, strict=False):
        assert one.grad.dtype == torch.float32
        assert_near(one.grad, other.grad, dtype)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_the_gradient_has_the_same_mask(probability: float) -> None:
    rows, width = 512, 768
    update, residual = numbers(rows, width), torch.zeros(rows, width, device=GPU)
    norm = nn.LayerNorm(width, device=GPU)
    with torch.no_grad():
        update.fill_(1.0)
        update[:, ::2] = -1.0
    bias = torch.zeros(width, device=GPU)
    torch.manual_seed(3)
    masks = []
    for _ in range(2):
        update.grad = None
        output = cuda_kernels.add_and_norm(update, bias, residual, norm, probability)
        output.sum().backward()  # a norm's sum is constant: what reaches a kept element is next to 0, but not 0
        kept = output.abs() > 0.5
        masks.append(kept)
        assert kept.float().mean().item() == pytest.approx(1 - probability, abs=0.01)
        assert kept.float().mean(0).sub(1 - probability).abs().max() < 0.13  # of 512 rows
        update.grad = None
        torch.manual_seed(4)
        output = cuda_kernels.add_and_norm(update, bias, residual, norm, probability)
        output.square().mul(numbers(rows, width, seed=9)).sum().backward()
        assert torch.equal(update.grad != 0, output.abs() > 0.5)
        torch.manual_seed(5)
    assert not torch.equal(*masks)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("width", [64, 32, 26, 288])
def test_attention(width: int, dtype: torch.dtype) -> None:
    lengths, heads = [130, 64, 17, 1], 3
    projected = numbers(sum(lengths), 3 * heads * width, dtype=dtype)
    gradient = numbers(sum(lengths), heads * width, dtype=dtype, seed=2).detach()
    sequences = Sequences.of(np.array(lengths)).to(GPU, non_blocking=True)
    output = attend(None, projected, heads, sequences, 0.0)
    output.backward(gradient)
    (theirs,) = exact(projected)
    parts = [part.split(lengths) for part in theirs.unflatten(1, (3, heads, width)).unbind(1)]
    expected = torch.cat(
        [
            functional.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in sequence))[0].transpose(
                0, 1
            )
            for sequence in zip(*parts, strict=True)
        ]
    ).flatten(1)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    assert_near(projected.grad, theirs.grad, dtype)

    firsts = np.cumsum([0, *lengths[:-1]])
    query, rest = projected.detach()[firsts, : heads * width], projected.detach()[:, heads * width :]
    assert_near(attend(query, rest, heads, sequences, 0.0), expected[firsts], dtype)


def test_random_numbers_and_kernels_can_be_recorded() -> None:
    update, residual = numbers(64, 384), numbers(64, 384, seed=2)
    bias, norm = torch.zeros(384, device=GPU), nn.LayerNorm(384, device=GPU)
    outputs = []
    with torch.no_grad():
        cuda_kernels.add_and_norm(update, bias, residual, norm, 0.5)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            output = cuda_kernels.add_and_norm(update, bias, residual, norm, 0.5)
        torch.manual_seed(1)
        for _ in range(2):
            graph.replay()
            outputs.append(output.clone())
        torch.manual_seed(1)
        outputs.append(cuda_kernels.add_and_norm(update, bias, residual, norm, 0.5))
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
