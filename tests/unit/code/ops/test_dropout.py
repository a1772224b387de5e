from __future__ import annotations

import pytest
import torch

from text_classifier.ops.dropout import Dropout, random_bits


def lowbias32(first: int, second: int, index: int) -> int:
    """The hash in Python's integers."""
    x = (index + first) % 2**32
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32 ^ second
    x = (x ^ x >> 15) * 0x846CA68B % 2**32
    return x ^ x >> 16


def test_random_bits_are_those_of_the_hash() -> None:
    seed = torch.tensor(0x3EDCBA98_F1234567)
    index = torch.tensor([0, 1, 2, 65535, 2**31 - 1, -1, -(2**31)], dtype=torch.int32)
    found = random_bits(*Dropout(1, seed).key, index)
    expected = [lowbias32(0xF1234567, 0x3EDCBA98, number % 2**32) for number in index.tolist()]
    assert [number % 2**32 for number in found.tolist()] == expected


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_it_drops_its_share_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(1)
    dropped = Dropout.draw(probability, torch.device("cpu"))(torch.ones(1000, 1000))
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=2e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("count", [0, 1, 7, 2**31 - 1, 2**31, 2**32 + 3])
def test_a_shifted_dropout_has_the_bits_of_larger_indices(count: int) -> None:
    shifted = Dropout(1, torch.tensor(0x3EDCBA98_F1234567)).shifted(count)
    found = random_bits(*shifted.key, torch.arange(5, dtype=torch.int32))
    expected = [lowbias32(0xF1234567, 0x3EDCBA98, count + number) for number in range(5)]
    assert [number % 2**32 for number in found.tolist()] == expected


def test_without_dropout_no_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    x = torch.ones(3)
    assert Dropout.draw(0.0, x.device)(x) is x
    assert torch.equal(torch.get_rng_state(), before)
