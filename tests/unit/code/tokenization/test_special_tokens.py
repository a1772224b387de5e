"""Special tokens are told from a text's own, or the tokenizer is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import processors

from support.small_tokenizers import cased, made
from text_classifier.contract.errors import SettingsError
from text_classifier.tokenization.special_tokens import around
from text_classifier.tokenization.tokens import encoder


@pytest.mark.parametrize("name", ["wordpiece", "cased", "byte-level", "unigram"])
def test_they_are_the_ids_of_an_empty_text(name: str) -> None:
    tokenizer = made(name)
    before, after = around(tokenizer, "a", "b")
    assert before and after and before + after == tokenizer("")["input_ids"]


def test_there_may_be_none() -> None:
    tokenizer = cased()
    tokenizer.backend_tokenizer.post_processor = None
    assert around(tokenizer, "a", "b") == ([], [])


def test_one_token_may_be_at_both_ends() -> None:
    tokenizer = cased()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "[SEP] $A [SEP]", "$A $B", special_tokens=[("[SEP]", 3)]
    )
    assert around(tokenizer, "a", "b") == ([3], [3])


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        ([7], [1, 5, 2]),  # a text has other tokens between special tokens
        ([7, 8], [1, 7, 2, 8]),
        ([7], [7, 7, 2]),  # which of them is special?
        ([], [1, 2]),
    ],
)
def test_other_tokenizers_are_refused_by_each_setting(content: list[int], whole: list[int]) -> None:
    class Odd:
        truncation_side = "right"

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": whole if add_special_tokens else content}

    tokenizer: Any = Odd()
    for options, setting, default in (
        ({"truncation": "tail"}, "truncation=tail", "truncation=head"),
        ({"truncation": "head_tail"}, "truncation=head_tail", "truncation=head"),
        ({"stride": 2}, "long_texts=mean", "long_texts=truncate"),
    ):
        with pytest.raises(SettingsError) as refused:
            encoder(tokenizer, 8, **options)  # type: ignore[arg-type]
        assert str(refused.value) == (
            f"{setting} needs a tokenizer that adds its special tokens at the ends of a text; set {default}, or choose "
            "another model"
        )
