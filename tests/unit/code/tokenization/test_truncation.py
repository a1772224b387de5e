"""The kept tokens are those of the whole text, between the special tokens of the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from support.small_tokenizers import TEXTS, WORDS, made
from text_classifier.contract.parsing import parse
from text_classifier.tokenization import truncation
from text_classifier.tokenization.tokens import encoder, tokenize

NAMES = ["wordpiece", "cased", "byte-level", "unigram"]


def left(tokenizer: Any, texts: list[str], max_length: int) -> list[list[int]]:
    """What transformers keeps with truncation_side=left."""
    tokenizer.truncation_side = "left"
    try:
        ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    finally:
        tokenizer.truncation_side = "right"
    return ids


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), max_length=st.integers(3, 40))
def test_the_tail_is_that_of_transformers(name: str, texts: list[str], max_length: int) -> None:
    tokenizer = made(name)
    found = encoder(tokenizer, max_length, truncation="tail")(texts)
    assert found.lists() == left(tokenizer, texts, max_length)
    assert found.truncated == sum(len(ids) > max_length for ids in tokenizer(texts)["input_ids"])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), max_length=st.integers(3, 40))
def test_a_quarter_of_head_and_tail_is_the_head(name: str, texts: list[str], max_length: int) -> None:
    tokenizer = made(name)
    found = encoder(tokenizer, max_length, truncation="head_tail")(texts).lists()
    head = -(-(max_length - 2) // 4)
    for ids, whole in zip(found, tokenizer(texts)["input_ids"], strict=True):
        if len(whole) <= max_length:
            assert ids == whole
        else:
            content = whole[1:-1]
            tail = content[len(content) - (max_length - 2 - head) :]
            assert ids == [whole[0], *content[:head], *tail, whole[-1]] and len(ids) == max_length


def test_a_text_of_512_tokens_keeps_128_and_382() -> None:
    words = [f"{number}" for number in range(10, 99)] * 9
    tokenizer = made("wordpiece")
    whole = tokenizer(" ".join(words))["input_ids"]
    assert len(whole) > 512
    [ids] = encoder(tokenizer, 512, truncation="head_tail")([" ".join(words)]).lists()
    assert ids == whole[: 1 + 128] + whole[len(whole) - 382 - 1 :]


def test_a_tokenizer_of_python_code_is_cut_too(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))
    tokenizer = BertTokenizerLegacy(str(tmp_path / "vocab.txt"))
    texts = ["a b c " * 9, "a", ""]
    assert encoder(tokenizer, 7, truncation="tail")(texts).lists() == left(tokenizer, texts, 7)


def test_long_texts_are_encoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncation, "CHARACTERS", 40)
    texts = [" ".join(WORDS[: n % 9]) for n in range(40)]
    assert [len(part) for part in truncation.parts(["a" * 30, "b" * 11, "c" * 60, "", "d"])] == [1, 1, 1, 2]
    tokenizer = made("unigram")
    found = tokenize(tokenizer, texts, 9, truncation="tail")
    assert found.ids.tolist() == [each for ids in left(tokenizer, texts, 9) for each in ids]


@pytest.mark.parametrize(
    ("chosen", "side"),
    [
        ({"truncation": "tail"}, "left"),
        ({"truncation": "head_tail"}, "right"),
        ({"long_texts": "mean"}, "right"),
        ({}, None),
    ],
    ids=str,
)
def test_the_saved_tokenizer_truncates_as_the_job(chosen: dict[str, str], side: str | None) -> None:
    for given_side in ("left", "right"):
        tokenizer = made("wordpiece")
        tokenizer.truncation_side = given_side
        note = truncation.choose_side(tokenizer, parse(chosen))
        assert tokenizer.truncation_side == (side or given_side)
        assert ("truncation_side=left" in note) == (side is None and given_side == "left")
