from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from text_classifier.ops import reference
from text_classifier.ops.sequences import Sequences

LENGTHS, HEADS, WIDTH = np.array([20, 18, 3, 1]), 2, 8


@pytest.mark.parametrize("dropout_p", [0.0, 0.5])
@pytest.mark.parametrize("first_only", [False, True], ids=["all", "first"])
def test_attention_stores_or_computes_again_with_the_same_results(
    dropout_p: float, first_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    attend = reference._attend

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return attend(*arguments)

    monkeypatch.setattr(reference, "_attend", counted)
    torch.manual_seed(3)
    tokens = LENGTHS.sum()
    query = torch.randn(len(LENGTHS), HEADS * WIDTH, requires_grad=True) if first_only else None
    qkv = torch.randn(tokens, (2 if first_only else 3) * HEADS * WIDTH, requires_grad=True)
    inputs = [tensor for tensor in (query, qkv) if tensor is not None]
    found = []
    for limit in (HEADS * (2 * 20**2 + 2 * 3**2), 0):  # two groups of similar lengths
        monkeypatch.setattr(reference, "MAX_STORED", limit)
        torch.manual_seed(4)  # the same mask
        calls = 0
        output = reference.attention(query, qkv, Sequences.from_lengths(LENGTHS), HEADS, dropout_p)
        found.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
        assert calls == (2 if limit else 4)
    for stored, again in zip(*found, strict=True):
        torch.testing.assert_close(stored, again, rtol=0, atol=0)
