from __future__ import annotations

import pytest
import torch

from text_classifier.modeling.precision import Precision, fastest


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 6), "bf16"), ((9, 0), "bf16")]
)
def test_a_gpu_gets_the_dtype_of_its_fastest_matmuls(
    capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fastest(torch.device("cuda")) == name


@pytest.mark.parametrize(
    ("capabilities", "name"), [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "fp32"), ({}, "fp32")]
)
def test_a_cpu_gets_bf16_only_with_amx(
    capabilities: dict[str, bool], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest(torch.device("cpu")) == name


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_dtype_that_is_named_is_taken(name: str) -> None:
    precision = Precision(name, torch.device("cpu"))
    assert (precision.name, precision.loss_scale().is_used) == (name, name == "fp16")
