"""What ops/ does on a GPU only; tests/unit/code/ops/cuda has the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda.bindings import driver, nvrtc
from torch import nn
from torch.nn import functional

from support.exact import DEVICE, DTYPES, assert_near, attended, exact, numbers
from text_classifier.ops import reference
from text_classifier.ops.backend import Backend
from text_classifier.ops.cuda import bindings
from text_classifier.ops.cuda.driver import compile_kernels
from text_classifier.ops.linear import fused_linear
from text_classifier.ops.selftest import Shape, choose
from text_classifier.ops.sequences import Sequences


def ops_for(dtype: torch.dtype, head_width: int | None = None) -> Backend:
    """The native operations."""
    return bindings.backend(reference.backend(DEVICE, dtype), DEVICE, dtype, head_width)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linear(dtype: torch.dtype, has_bias: bool) -> None:
    x, gradient = numbers(50, 96, dtype=dtype), numbers(50, 64, dtype=dtype, seed=2).detach()
    modules = [nn.Linear(96, 32, device=DEVICE) for _ in range(2)]
    output, _ = fused_linear(ops_for(dtype), x, modules, has_bias=has_bias)
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
    output = ops_for(dtype, width).attention(None, qkv, sequences, heads, 0.0)
    output.backward(gradient)
    (theirs,) = exact(qkv)
    expected = attended(theirs, None, lengths, heads)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    assert_near(qkv.grad, theirs.grad, dtype)

    firsts = np.cumsum([0, *lengths[:-1]])
    query, rest = qkv.detach()[firsts, : heads * width], qkv.detach()[:, heads * width :]
    assert_near(ops_for(dtype, width).attention(query, rest, sequences, heads, 0.0), expected[firsts], dtype)


def test_random_numbers_and_kernels_can_be_captured() -> None:
    update, residual = numbers(64, 384), numbers(64, 384, seed=2)
    bias, norm = torch.zeros(384, device=DEVICE), nn.LayerNorm(384, device=DEVICE)
    ops, outputs = ops_for(torch.float32), []
    with torch.no_grad():
        ops.add_and_norm(update, bias, residual, norm, 0.5)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            output = ops.add_and_norm(update, bias, residual, norm, 0.5)
        torch.manual_seed(1)
        for _ in range(2):
            graph.replay()
            outputs.append(output.clone())
        torch.manual_seed(1)
        outputs.append(ops.add_and_norm(update, bias, residual, norm, 0.5))
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [384, 768, 1024])
def test_the_self_test_replaces_nothing(
    width: int, dtype: torch.dtype, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEXT_OPS", raising=False)
    shape = Shape(heads=width // 64, width=width, inner_width=4 * width, norm_widths=(width,), dropouts=(0.1,))
    ops = choose(DEVICE, dtype, shape)
    assert capsys.readouterr().out == ""
    assert {name for name, how in ops.names.items() if how == "cuda"} >= {"add_and_norm", "gelu", "adamw"}
    assert ops.names["attention"] == ("torch" if dtype == torch.float32 else "cuda")


def test_kernels_are_loaded_from_ptx_where_nvrtc_does_not_know_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the driver, which compiles them."""
    own = int("".join(map(str, torch.cuda.get_device_capability(DEVICE))))
    _, known = nvrtc.nvrtcGetSupportedArchs()
    monkeypatch.setattr(nvrtc, "nvrtcGetSupportedArchs", lambda: (0, [arch for arch in known if arch < own]))
    code = compile_kernels("sums", torch.float32, {}, own)
    assert b".target" in code
    error, module = driver.cuModuleLoadData(code)
    assert not error
    assert not driver.cuModuleGetFunction(module, b"sums_columns")[0]
