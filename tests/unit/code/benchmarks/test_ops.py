from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import ops
from text_classifier.ops import reference
from text_classifier.ops.cpu import bindings
from text_classifier.ops.sequences import Sequences


def test_every_native_operation_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "SHAPES", ((24, 2),))
    monkeypatch.setattr(ops, "LENGTHS", (4,))
    monkeypatch.setattr(ops, "TOKENS", 8)
    monkeypatch.setattr(ops, "CALLS", 1)
    native = bindings.backend(reference.backend(torch.device("cpu"), torch.float32), torch.float32)
    found = list(ops.measure())
    assert {one["operation"] for one in found if one["dtype"] == "float32"} == {
        name for name, library in native.names.items() if library != "torch"
    }
    assert {one["call"] for one in found if one["operation"] == "attention"} == {"forward", "training"}


def test_without_dropout_torchs_own_operations_compute_the_same() -> None:
    plain = reference.backend(torch.device("cpu"), torch.float32)
    rival = ops.torchs_own(plain)
    torch.manual_seed(1)
    for _, _, calls in ops.cases(24, 2, torch.float32):
        if "forward" in calls:
            torch.testing.assert_close(calls["forward"](rival)(), calls["forward"](plain)())
    sequences = Sequences.from_lengths(np.array([5, 3, 1]))
    query, keys_and_values = torch.randn(3, 24), torch.randn(9, 48)
    ours, torchs = (each.attention(query, keys_and_values, sequences, 2, 0.0) for each in (plain, rival))
    torch.testing.assert_close(torchs, ours)
