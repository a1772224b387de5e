from __future__ import annotations

import functools
import itertools
import json
import os
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import processors

from support.small_tokenizers import ODD, TEXTS, TOKENIZERS, WORDS, byte_level, cased, made, unigram
from text_classifier.reading.strings import Strings
from text_classifier.tokenization import tokens, windows
from text_classifier.tokenization.prefix import prefix_encoder, safe_prefix, splits_at_spaces
from text_classifier.tokenization.tokens import encoder, tokenize
from text_classifier.tokenization.wordpiece import wordpiece_encoder


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return made(request.param)


def expected(tokenizer: Any, texts: list[str], max_length: int) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    return ids


ENCODERS = {"prefix": prefix_encoder, "native": wordpiece_encoder}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "prefix") for name in TOKENIZERS), ("wordpiece", "native"), ("cased", "native")]
)
@settings(
    max_examples=int(os.environ.get("EXAMPLES", 100)), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), max_length=st.integers(3, 24))
def test_texts_of_any_language_have_the_ids_of_the_plain_tokenizer(
    name: str, kind: str, texts: list[str], max_length: int
) -> None:
    tokenizer = made(name)
    encode = ENCODERS[kind](tokenizer, max_length)
    assert encode is not None
    found = encode(texts)
    ids, truncated = found.lists(), found.truncated
    assert ids == expected(tokenizer, texts, max_length)
    whole = tokenizer(texts)["input_ids"]
    assert truncated == sum(len(row) > max_length for row in whole)


@functools.cache
def many_texts() -> list[str]:
    """100,000 of words of several languages, oddities, and characters of any script."""
    random = Random(0)
    characters = [*range(0x20, 0xD800), *range(0xE000, 0x30000)]

    def part() -> str:
        if random.random() < 0.8:
            return random.choice(WORDS) if random.random() < 0.9 else random.choice(ODD)
        return "".join(map(chr, random.choices(characters if random.random() < 0.5 else range(0x20, 0x500), k=4)))

    return [" ".join(part() for _ in range(random.randrange(24))) for _ in range(100_000)]


def test_100_000_texts_of_any_language_have_the_ids_of_the_plain_tokenizer(tokenizer: Any) -> None:
    found = tokenize(tokenizer, many_texts(), 16)
    rows = expected(tokenizer, many_texts(), 16)
    assert found.ids.tolist() == list(itertools.chain(*rows))
    assert found.lengths.tolist() == list(map(len, rows))


def test_long_texts_are_not_read_to_their_end(tokenizer: Any) -> None:
    assert splits_at_spaces(json.loads(tokenizer.backend_tokenizer.to_str()))
    assert safe_prefix("a wonderful book " * 1000, 100) == ("a wonderful book " * 6)[:96]


def test_a_prefix_ends_between_two_words_or_is_the_whole_text() -> None:
    assert safe_prefix("one two", 10) == "one two"
    assert safe_prefix("one two three", 10) == "one two"
    assert safe_prefix("one two, three", 10) == "one two, three"  # after the comma, but not between two letters
    assert safe_prefix("one  two three", 10) == "one  two"
    assert safe_prefix("一二三四五六七八九十一二三", 5) == "一二三四五六七八九十一二三"


def test_all_rows_are_tokenized_in_their_order(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 3)
    texts = [" ".join(WORDS[: n % 20]) for n in range(50)]
    found = tokenize(tokenizer, texts, 16)
    rows = [found.flat(np.array([row])).tolist() for row in range(len(found))]
    assert rows == expected(tokenizer, texts, 16)
    assert found.truncated == sum(len(row) > 16 for row in tokenizer(texts)["input_ids"])
    assert found.lengths.tolist() == [len(row) for row in rows]
    assert len(tokenize(tokenizer, [], 16)) == 0


def test_texts_on_disk_have_the_ids_of_the_same_strings(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 7)
    texts = many_texts()[:200]
    rows = np.array([*range(50, 120), *range(0, 50, 3), 130, 125, 199])
    stored = Strings.of(texts).take(rows)
    found = tokenize(tokenizer, stored, 16)
    assert found.ids.tolist() == [*itertools.chain(*expected(tokenizer, [texts[row] for row in rows], 16))]


def test_an_unsupported_tokenizer_is_called_directly() -> None:
    tokenizer = byte_level()
    tokenizer.truncation_side = "left"
    texts = [" ".join(WORDS * 3), "short"]
    assert prefix_encoder(tokenizer, 8) is None
    assert tokenize(tokenizer, texts, 8).ids.tolist() == [*itertools.chain(*expected(tokenizer, texts, 8))]


@pytest.mark.parametrize("name", [*TOKENIZERS, "cased"])
@settings(max_examples=int(os.environ.get("EXAMPLES", 30)), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), max_length=st.integers(4, 24), stride=st.integers(0, 20))
def test_windows_are_those_of_the_plain_tokenizer(name: str, texts: list[str], max_length: int, stride: int) -> None:
    tokenizer, stride = made(name), min(stride, max_length - 3)
    found = encoder(tokenizer, max_length, stride)(texts)
    whole = tokenizer(texts)["input_ids"]
    plain = tokenizer(texts, truncation=True, max_length=max_length, stride=stride, return_overflowing_tokens=True)
    assert found.windows is not None and found.truncated == 0
    assert found.lists() == plain["input_ids"]
    assert found.windows.texts.tolist() == plain["overflow_to_sample_mapping"]
    assert found.windows.lengths.tolist() == [len(ids) for ids in whole]


def test_windows_start_at_the_beginning_whatever_side_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_WINDOWS", 3)
    tokenizer, other = byte_level(), byte_level()
    other.truncation_side = "left"
    texts = [" ".join(WORDS * 3), "short"]
    assert encoder(other, 8, 2)(texts).lists() == encoder(tokenizer, 8, 2)(texts).lists()


def test_a_text_has_no_more_windows_than_are_allowed(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_WINDOWS", 3)
    long, short = " ".join(WORDS * 4), "book"
    found = tokenize(tokenizer, [short, long, short], 8, stride=2)
    plain = tokenizer(long, truncation=True, max_length=8, stride=2, return_overflowing_tokens=True)["input_ids"]
    assert found.truncated == 1 and found.windows is not None
    assert found.windows.counts.tolist() == [1, 3, 1]
    assert found.windows.lengths[1] == found.text_lengths[1] == 2 + 6 + 2 * 4
    assert [found.flat(np.array([row])).tolist() for row in (1, 2, 3)] == plain[:3]


def test_all_windows_are_tokenized_in_their_order(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK_OF_LONG", 3)
    texts = [" ".join(WORDS[: n % 20]) for n in range(50)]
    found = tokenize(tokenizer, texts, 8, stride=3)
    plain = tokenizer(texts, truncation=True, max_length=8, stride=3, return_overflowing_tokens=True)
    assert found.windows is not None and found.truncated == 0
    assert [found.flat(np.array([row])).tolist() for row in range(len(found))] == plain["input_ids"]
    assert found.windows.texts.tolist() == plain["overflow_to_sample_mapping"]
    assert len(tokenize(tokenizer, [], 8, stride=3)) == 0


def test_a_tokenizer_that_truncates_on_the_left_has_the_same_windows() -> None:
    tokenizer = byte_level()
    texts = [" ".join(WORDS), "short"]
    expected = encoder(tokenizer, 8, 2)(texts).lists()
    tokenizer.truncation_side = "left"
    assert encoder(tokenizer, 8, 2)(texts).lists() == expected


ASCII = st.lists(
    st.one_of(
        st.sampled_from(["a wonderful book", "it's", "[PAD]", "[SEP", "unbelievable", "##ok", "x" * 101, "DON'T"]),
        st.text(st.characters(max_codepoint=127), max_size=12),
    ),
    max_size=40,
).map(" ".join)


@pytest.mark.parametrize("name", ["wordpiece", "cased"])
@settings(
    max_examples=int(os.environ.get("EXAMPLES", 100)), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(texts=st.lists(ASCII, min_size=1, max_size=8), max_length=st.integers(3, 64))
def test_texts_in_ascii_have_the_ids_of_the_plain_tokenizer(name: str, texts: list[str], max_length: int) -> None:
    tokenizer = made(name)
    encode = wordpiece_encoder(tokenizer, max_length)
    assert encode is not None
    found = encode(texts)
    ids, truncated = found.lists(), found.truncated
    assert ids == expected(tokenizer, texts, max_length)
    assert truncated == sum(len(row) > max_length for row in tokenizer(texts)["input_ids"])


def test_what_comes_after_the_truncation_leaves_no_text_to_the_library() -> None:
    texts = ["a good book " * 3 + end for end in ("[SEP]", "Stra\u00dfe", "e\u0301", "!\u0301 \u6587", "\u200b")]
    tokenizer = made("wordpiece")
    encode = wordpiece_encoder(tokenizer, 8)
    assert isinstance(encode, functools.partial)
    native, fallback = encode.args
    assert (native.encode(texts, 8).counts == 8).all() and encode(texts).truncated == len(texts)
    assert encode(texts).lists() == expected(tokenizer, texts, 8) == fallback(texts).lists()
    assert (native.encode(texts, 16).counts == -1).all()


def test_unsupported_tokenizers_are_left_to_the_library() -> None:
    assert wordpiece_encoder(byte_level(), 16) is None
    assert wordpiece_encoder(unigram(), 16) is None
    other = cased()
    other.add_tokens(["shop"])  # found in the text after it was normalized
    assert wordpiece_encoder(other, 16) is None
    assert wordpiece_encoder(cased(), 2) is None
    other = cased()
    both = [("[CLS]", 2), ("[SEP]", 3)]
    other.backend_tokenizer.post_processor = processors.TemplateProcessing("[CLS] [SEP] $A", special_tokens=both)
    assert wordpiece_encoder(other, 16) is None
