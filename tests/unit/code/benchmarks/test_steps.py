from __future__ import annotations

import pytest
import torch
from transformers import BertConfig

from benchmarks import steps, weights
from text_classifier.ops import reference
from text_classifier.ops.cpu import bindings
from text_classifier.ops.processor import has_bf16


def test_a_step_is_timed_without_each_native_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = BertConfig(vocab_size=50, hidden_size=32, num_attention_heads=2, num_hidden_layers=2, intermediate_size=64)
    monkeypatch.setitem(weights.SHAPES, "tiny", tiny)
    monkeypatch.setattr(steps, "SHAPES", ("tiny",))
    monkeypatch.setitem(steps.BATCHES, "cpu", (("few tokens", 4, 2, 5),))
    monkeypatch.setattr(steps, "ROUNDS", 1)
    (found,) = steps.measure("cpu")
    dtype = torch.bfloat16 if has_bf16() else torch.float32
    native = bindings.backend(reference.backend(torch.device("cpu"), dtype), dtype)
    names = {name: library for name, library in native.names.items() if library != "torch"}
    assert found["native_operations"] == names
    assert list(found["milliseconds"]) == ["native", *names, "torch"]
    assert all(milliseconds > 0 for milliseconds in found["milliseconds"].values())
