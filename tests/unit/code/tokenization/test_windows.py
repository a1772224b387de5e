"""Windows of texts as arrays. That they are those of the plain tokenizer is tested in test_tokens.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.tokenization.windows import MOST_WINDOWS, Windowing, Windows, window_stride


def windows_of(*counts: int) -> Windows:
    return Windows(np.concatenate([[0], np.cumsum(counts)]), np.full(len(counts), 9))


def tokenizer_of(*, before: list[int], after: list[int], a: list[int]) -> Callable[..., dict[str, Any]]:
    return lambda text, add_special_tokens=True: {"input_ids": before + a + after if add_special_tokens else a}


def test_all_texts_weigh_alike_and_the_mean_weight_is_one() -> None:
    windows = windows_of(1, 4, 2, 1)
    assert windows.weights.dtype == np.float32 and windows.weights.mean() == pytest.approx(1)
    totals = np.bincount(windows.texts, windows.weights)
    assert totals == pytest.approx(np.full(4, 2.0))
    assert windows.weights[windows.texts == 1].tolist() == [0.5] * 4


def test_texts_of_one_window_change_no_number() -> None:
    windows = windows_of(*[1] * 7)
    logits = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    assert windows.weights.tolist() == [1.0] * 7
    np.testing.assert_array_equal(windows.means(logits), logits)


def test_the_logits_of_a_text_are_the_mean_over_its_windows() -> None:
    windows = windows_of(3, 1, 2)
    logits = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    expected = [logits[:3].mean(axis=0), logits[3], logits[4:].mean(axis=0)]
    found = windows.means(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_windows_of_texts_that_follow_one_another_are_joined() -> None:
    joined, whole = Windows.joined([windows_of(3, 1), windows_of(2), windows_of(1, 1)]), windows_of(3, 1, 2, 1, 1)
    np.testing.assert_array_equal(joined.first, whole.first)
    np.testing.assert_array_equal(joined.lengths, whole.lengths)
    assert Windows.joined([]).texts.tolist() == []


@pytest.mark.parametrize(("before", "after"), [([7], [8]), ([7, 6], []), ([], [8, 9]), ([], [])])
def test_every_window_has_the_special_tokens(before: list[int], after: list[int]) -> None:
    special = len(before) + len(after)
    windowing = Windowing.of(tokenizer_of(before=before, after=after, a=[1]), 5 + special, 2)
    texts = [[], [1, 2, 3, 4, 5], [*range(10, 20)]]
    whole = [before + text + after for text in texts]
    counts = np.array([len(ids) for ids in whole])
    ids, counts, windows = windowing.cut(np.concatenate(whole).astype(np.int32), counts)
    content: list[list[int]] = [[], [1, 2, 3, 4, 5], [*range(10, 15)], [*range(13, 18)], [*range(16, 20)]]
    assert ids.tolist() == [id for window in content for id in before + window + after]
    assert counts.tolist() == [len(window) + special for window in content]
    assert windows.first.tolist() == [0, 1, 2, 5]
    assert windows.lengths.tolist() == [len(ids) for ids in whole]


def test_the_longest_text_has_as_many_windows_as_are_allowed() -> None:
    windowing = Windowing.of(tokenizer_of(before=[7], after=[8], a=[1]), 10, 3)
    for length, count in ((windowing.longest, MOST_WINDOWS), (windowing.longest + 1, MOST_WINDOWS + 1)):
        _, counts, _ = windowing.cut(np.zeros(length, dtype=np.int32), np.array([length]))
        assert len(counts) == count


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ({"before": [7], "after": [8], "a": [1]}, "window_stride=6 must be less than the 6 tokens that max_seq"),
        ({"before": [7, 7, 7], "after": [8], "a": [1]}, "less than the 4 tokens that max_sequence_length=8 leaves be"),
    ],
)
def test_windows_that_cannot_be_are_one_sentence(ids: dict[str, list[int]], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Windowing.of(tokenizer_of(**ids), 8, 6)


def test_models_from_before_there_were_windows_truncate() -> None:
    assert window_stride({"max_sequence_length": 8}) is None
    assert window_stride(vars(Settings())) is None
    assert window_stride(vars(Settings(long_texts="mean", window_stride=5))) == 5
