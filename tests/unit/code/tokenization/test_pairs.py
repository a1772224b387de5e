"""Pairs have the ids and the token types of the model's own tokenizer."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from support.small_tokenizers import TEXTS, WORDS, byte_level, cased, made
from text_classifier.contract.errors import SettingsError
from text_classifier.reading.pairs import SEPARATOR, pair
from text_classifier.tokenization import tokens
from text_classifier.tokenization.pairs import longest_first
from text_classifier.tokenization.tokens import Tokens, encoder, tokenize

NAMES = ["wordpiece", "cased", "byte-level", "unigram"]
PAIRS = st.tuples(TEXTS, TEXTS).map(lambda both: tuple(text.replace(SEPARATOR, "") for text in both))
LONG, SHORT = " ".join(WORDS), "ein Vergnügen"


def expected(tokenizer: Any, pairs: list[tuple[str, str]], max_length: int) -> tuple[list[int], list[int], list[int]]:
    """Ids, token types and lengths by the tokenizer itself."""
    firsts, seconds = map(list, zip(*pairs, strict=True))
    found = tokenizer(firsts, seconds, truncation="longest_first", max_length=max_length)
    types = found["token_type_ids"] if "token_type_ids" in tokenizer.model_input_names else []
    flat = itertools.chain.from_iterable
    return list(flat(found["input_ids"])), list(flat(types)), list(map(len, found["input_ids"]))


def check(tokenizer: Any, found: Tokens, pairs: list[tuple[str, str]], max_length: int) -> None:
    ids, types, lengths = expected(tokenizer, pairs, max_length)
    assert found.ids.tolist() == ids
    assert found.lengths.tolist() == lengths
    ours = found.types(np.arange(len(pairs)))
    assert (types if any(types) else None) == (None if ours is None else ours.tolist())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=int(os.environ.get("EXAMPLES", 60)), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs=st.lists(PAIRS, min_size=1, max_size=6), max_length=st.integers(6, 40))
def test_pairs_have_the_ids_and_types_of_the_tokenizer(
    name: str, pairs: list[tuple[str, str]], max_length: int
) -> None:
    tokenizer = made(name)
    found = tokenize(tokenizer, [pair(*both) for both in pairs], max_length, is_pair=True)
    check(tokenizer, found, pairs, max_length)
    whole = expected(tokenizer, pairs, 100_000)[2]
    assert found.truncated == sum(length > max_length for length in whole)


@pytest.mark.parametrize("name", NAMES)
def test_pairs_of_any_chunk_are_in_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 3)
    pairs = [(" ".join(WORDS[: n % 20]), " ".join(WORDS[n % 7 : n % 13])) for n in range(50)]
    check(made(name), tokenize(made(name), [pair(*both) for both in pairs], 16, is_pair=True), pairs, 16)


def test_the_framing_is_that_of_bert_and_of_roberta() -> None:
    bert = tokenize(made("cased"), [pair("b", "x b")], 16, is_pair=True)
    assert bert.ids.tolist() == [2, 4, 3, 9, 4, 3]  # [CLS] b [SEP] x b [SEP]
    assert bert.types(np.array([0])).tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    roberta = tokenize(made("byte-level"), [pair("b", "x")], 16, is_pair=True)
    assert [roberta.ids[index] for index in (0, 2, 3, -1)] == [0, 1, 1, 1]  # <s> b </s></s> x </s>
    assert roberta.second is None


def test_a_model_without_token_types_gets_none() -> None:
    tokenizer = cased()  # as DistilBERT's
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    found = tokenize(tokenizer, [pair("b", "x b")], 16, is_pair=True)
    assert found.second is None
    check(tokenizer, found, [("b", "x b")], 16)


def test_the_beginning_of_texts_is_truncated_where_the_tokenizer_does_so() -> None:
    pairs = [(LONG, SHORT), (SHORT, LONG), (LONG, LONG), ("", SHORT), (SHORT, "")]
    left = byte_level()
    left.truncation_side = "left"
    check(left, tokenize(left, [pair(*both) for both in pairs], 16, is_pair=True), pairs, 16)


def test_the_cost_is_linear_in_the_length_of_both_texts() -> None:
    """The tokenizers library takes 7 GB for it."""
    long = pair("book " * 16_000, "nice " * 16_000)
    found = tokenize(made("wordpiece"), [long] * 2, 128, is_pair=True)
    assert found.lengths.tolist() == [128, 128]
    assert found.second is not None and found.second.tolist() == [64, 64]


def test_a_tokenizer_of_python_code_is_called_itself(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))
    tokenizer = BertTokenizerLegacy(str(tmp_path / "vocab.txt"))
    assert not tokenizer.is_fast
    pairs = [("a b c " * 9, "c b"), ("a", "b " * 20), ("", "a")]
    found = tokenize(tokenizer, [pair(*both) for both in pairs], 10, is_pair=True)
    check(tokenizer, found, pairs, 10)
    assert found.truncated == 2


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("[CLS]:2 $A:0 [SEP]:0 $B:1 [SEP]:1", "gives the tokens of a pair other types than 0 for the first text and 1"),
        ("[CLS]:1 $A:1 [SEP]:1 $B:0 [SEP]:0", "gives the tokens of a pair other types than 0 for the first text and 1"),
    ],
)
def test_other_token_types_are_refused(template: str, sentence: str) -> None:
    tokenizer = cased()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", template, special_tokens=special
    )
    with pytest.raises(SettingsError, match=sentence):
        tokenize(tokenizer, [pair("b", "x")], 16, is_pair=True)


def test_a_tokenizer_without_pairs_is_refused() -> None:
    class Single:
        model_input_names = ("input_ids",)

        def __call__(self, texts: Any, pairs: Any = None, **_: Any) -> Any:
            raise NotImplementedError("one text only")

    with pytest.raises(SettingsError, match=r"tokenizer cannot encode pairs of texts \(one text only\); use another"):
        encoder(Single(), 16, is_pair=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(1, 9, (1, 6)), (9, 1, (6, 1)), (9, 9, (3, 4)), (8, 9, (3, 4)), (9, 8, (4, 3)), (0, 9, (0, 7))],
)
def test_of_the_longer_text_is_dropped_first(first: int, second: int, kept: tuple[int, int]) -> None:
    assert longest_first(first, second, 7) == kept
