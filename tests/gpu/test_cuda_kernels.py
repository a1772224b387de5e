"""What ops/ does on a GPU only; tests/unit/code/ops/cuda has the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from support.exact import DEVICE, DTYPES, assert_near, attended, exact, numbers
from text_classifier.ops.attention import Sequences, attend
from text_classifier.ops.cuda import bindings as cuda_ops
from text_classifier.ops.linear import fused_linear


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linear(dtype: torch.dtype, has_bias: bool) -> None:
    x, gradient = numbers(50, 96, dtype=dtype), numbers(50, 64, dtype=dtype, seed=2).detach()
    modules = [nn.Linear(96, 32, device=DEVICE) for _ in range(2)]
    output, _ = fused_linear(x, modules, has_bias=has_bias)
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


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [64, 32, 26, 288])
def test_attention(width: int, dtype: torch.dtype) -> None:
    lengths, heads = [130, 64, 17, 1], 3
    qkv = numbers(sum(lengths), 3 * heads * width, dtype=dtype)
    gradient = numbers(sum(lengths), heads * width, dtype=dtype, seed=2).detach()
    sequences = Sequences.from_lengths(np.array(lengths)).to(DEVICE, non_blocking=True)
    output = attend(None, qkv, heads, sequences, 0.0)
    output.backward(gradient)
    (theirs,) = exact(qkv)
    expected = attended(theirs, None, lengths, heads)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    assert_near(qkv.grad, theirs.grad, dtype)

    firsts = np.cumsum([0, *lengths[:-1]])
    query, rest = qkv.detach()[firsts, : heads * width], qkv.detach()[:, heads * width :]
    assert_near(attend(query, rest, heads, sequences, 0.0), expected[firsts], dtype)


def test_random_numbers_and_kernels_can_be_captured() -> None:
    update, residual = numbers(64, 384), numbers(64, 384, seed=2)
    bias, norm = torch.zeros(384, device=DEVICE), nn.LayerNorm(384, device=DEVICE)
    outputs = []
    with torch.no_grad():
        cuda_ops.add_and_norm(update, bias, residual, norm, 0.5)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            output = cuda_ops.add_and_norm(update, bias, residual, norm, 0.5)
        torch.manual_seed(1)
        for _ in range(2):
            graph.replay()
            outputs.append(output.clone())
        torch.manual_seed(1)
        outputs.append(cuda_ops.add_and_norm(update, bias, residual, norm, 0.5))
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
