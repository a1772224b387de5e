"""wordpiece.cpp is an accelerator: without it, or where it is wrong, the tokenizers library does its work."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from text_classifier.contract.errors import PlatformError
from text_classifier.ops.choice import warn_once
from text_classifier.ops.compile import library_path
from text_classifier.tokenization import wordpiece
from text_classifier.tokenization.tokens import tokenize
from text_classifier.tokenization.wordpiece import wordpiece_encoder

TEXTS = ["A good book.", "bad ending", "Stra\u00dfe", ""]
NATIVE = wordpiece._library()


def small_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """BERT's kind, with a small vocabulary."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "book", ".", "bad", "end", "##ing", "!", "after", "days"]
    vocabulary = {word: id for id, word in enumerate(words)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", **options))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return small_tokenizer()


@pytest.mark.parametrize(
    ("prefix", "words"), [("##", ["a", "b"]), ("##", ["a", "##b", "#"]), ("", ["a", "b"]), ("#", ["a", "##b"])]
)
def test_words_continue_only_with_tokens_that_have_the_prefix(prefix: str, words: list[str]) -> None:
    vocabulary = {word: id for id, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *words])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=prefix))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = ["a", "ab", "aa", "abb", "b", "a#b", "##b"]
    found = wordpiece._Native(json.loads(backend.to_str()), [1, 2]).encode(texts, 16)
    assert found.lists() == [[1, *backend.encode(text).ids, 2] for text in texts]


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TEXT_OPS", raising=False)
    wordpiece._library.cache_clear()
    warn_once.cache_clear()
    yield
    wordpiece._library.cache_clear()


def ids(tokenizer: Any) -> list[list[int]]:
    tokens = tokenize(tokenizer, TEXTS, 16)
    return [tokens.ids[start:end].tolist() for start, end in zip(tokens.offsets, tokens.offsets[1:], strict=False)]


def lacking(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setenv("PATH", str(folder))


def broken(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "lib").mkdir()
    (folder / "lib" / "wordpiece.so").touch()
    monkeypatch.setattr(sys, "prefix", str(folder))


def without_symbol(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(wordpiece, "library_path", lambda name: library_path("kernels-avx2"))


def wrong(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def encode(handle: Any, texts: Any, starts: Any, ends: Any, rows: int, length: int, found: Any, *rest: Any) -> int:
        total: int = NATIVE.encode(handle, texts, starts, ends, rows, length, found, *rest)
        ctypes.cast(found, ctypes.POINTER(ctypes.c_int32))[1] += 1  # after [CLS] of the first text
        return total

    library = SimpleNamespace(
        make_tokenizer=NATIVE.make_tokenizer, encode=encode, delete_tokenizer=NATIVE.delete_tokenizer
    )
    monkeypatch.setattr(wordpiece, "_library", lambda: library)
    monkeypatch.setattr(wordpiece._library, "cache_clear", lambda: None, raising=False)


FAULTS = {
    lacking: "wordpiece.so is missing and cannot be compiled here", broken: "wordpiece.so: file too short",
    without_symbol: "undefined symbol: make_tokenizer", wrong: "its ids are not those of the tokenizers library",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_tokenizers_library_takes_over(
    fault: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected = [tokenizer(text)["input_ids"] for text in TEXTS]
    assert wordpiece_encoder(tokenizer, 16) is not None
    assert ids(tokenizer) == expected
    assert capsys.readouterr().out == ""
    wordpiece._library.cache_clear()
    with monkeypatch.context() as patches:
        fault(patches, tmp_path)
        assert wordpiece_encoder(tokenizer, 16) is None
        assert ids(tokenizer) == expected
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("WARNING: the tokenizers library replaces wordpiece.cpp, and tokenization is slower: ")
        assert FAULTS[fault] in line
        patches.setenv("TEXT_OPS", "native")
        with pytest.raises(PlatformError, match=r"TEXT_OPS=native, and wordpiece.cpp cannot be used \(.*TEXT_OPS=auto"):
            wordpiece_encoder(tokenizer, 16)


@pytest.mark.parametrize("longest", [0, 3, 10_000, 10_001, 10**14, 2**64 - 1])
def test_a_longest_word_that_takes_much_memory_is_left_to_the_library(
    longest: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = small_tokenizer(max_input_chars_per_word=longest)
    assert (wordpiece_encoder(tokenizer, 16) is not None) == (0 < longest <= 10_000)
    assert ids(tokenizer) == [tokenizer(text)["input_ids"] for text in TEXTS]
    assert capsys.readouterr().out == ""


def test_a_vocabulary_with_more_nodes_than_numbers_is_left_to_the_library(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wordpiece_encoder(tokenizer, 16) is not None
    monkeypatch.setattr(wordpiece, "MOST_NODES", 20)
    assert wordpiece_encoder(tokenizer, 16) is None


def test_reference_takes_the_library_without_a_word(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEXT_OPS", "reference")
    assert wordpiece_encoder(tokenizer, 16) is None
    assert ids(tokenizer) == [tokenizer(text)["input_ids"] for text in TEXTS]
    assert capsys.readouterr().out == ""
