from __future__ import annotations

import pytest
import torch

from text_classifier.modeling import precision
from text_classifier.modeling.precision import Precision, fastest


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 6), "bf16"), ((9, 0), "bf16")]
)
def test_a_gpu_gets_the_dtype_of_its_fastest_matmuls(
    capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fastest(torch.device("cuda")) == name


def test_a_cpu_gets_the_dtype_of_its_fastest_matmuls(monkeypatch: pytest.MonkeyPatch) -> None:
    for faster, name in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(precision, "is_bf16_faster", lambda faster=faster: faster)
        assert fastest(torch.device("cpu")) == name


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_dtype_that_is_named_is_taken(name: str) -> None:
    chosen = Precision(name, torch.device("cpu"))
    assert (chosen.name, chosen.loss_scale().is_used) == (name, name == "fp16")
