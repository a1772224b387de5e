"""Truncating long texts before they are tokenized: a text that is cut at 128 tokens need not be read to its end.

A prefix has the first ids of the whole text if it ends at a point that no part of the tokenizer looks across: before a
single space between two letters or digits, for tokenizers that normalize character by character and split at white
space. Other tokenizers get whole texts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from text_classifier.tokenization.windows import Windows

#: Length of the first prefix, per token. An English token of BERT's vocabulary has 4.5 characters on average.
CHARACTERS_PER_TOKEN = 5


@dataclass(frozen=True)
class Encoded:
    """The token ids of several texts, one after another. A row is a text, or with `windows` one of its windows."""

    ids: np.ndarray  #: int32 [tokens]
    counts: np.ndarray  #: tokens of each row, int64 [rows]
    truncated: int  #: number of truncated texts
    windows: Windows | None = None  #: which rows are the windows of which text; None: each row is a text
    second: np.ndarray | None = None  #: as in Tokens, int64 [texts]

    def lists(self) -> list[list[int]]:
        """The ids of each row."""
        ids, ends = self.ids.tolist(), np.cumsum(self.counts).tolist()
        return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def encoded(rows: Sequence[Sequence[int]], truncated: int) -> Encoded:
    """Encoded texts, of which each has a sequence of ids."""
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    return Encoded(np.fromiter(itertools.chain.from_iterable(rows), np.int32, int(counts.sum())), counts, truncated)


#: Maps texts to their ids.
Encode = Callable[[Sequence[str]], Encoded]

_NORMALIZERS = ("BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")
_PRE_TOKENIZERS = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel")


def prefix_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode | None:
    """An encoder with exactly the ids of `tokenizer(texts, truncation=True)`; None if that cannot be guaranteed."""
    is_plain = getattr(type(tokenizer), "_encode_plus", None) is PreTrainedTokenizerFast._encode_plus
    if not is_plain or tokenizer.truncation_side != "right":
        return None
    tokenizer("", truncation=True, max_length=max_length)  # sets the truncation of its backend, which persists
    backend = tokenizer.backend_tokenizer
    limit = CHARACTERS_PER_TOKEN * max_length if splits_at_spaces(json.loads(backend.to_str())) else None

    def encode(texts: Sequence[str]) -> Encoded:
        texts = list(texts)
        prefixes = texts if limit is None else [safe_prefix(text, limit) for text in texts]
        encodings = backend.encode_batch_fast(prefixes)
        is_cut = [len(prefix) < len(text) for prefix, text in zip(prefixes, texts, strict=True)]
        short = [row for row, encoding in enumerate(encodings) if is_cut[row] and len(encoding) < max_length]
        for row, encoding in zip(short, backend.encode_batch_fast([texts[row] for row in short]), strict=True):
            encodings[row] = encoding
            is_cut[row] = False
        truncated = sum(
            is_cut[row] or (len(encoding) >= max_length and bool(encoding.overflowing))
            for row, encoding in enumerate(encodings)
        )
        return encoded([encoding.ids for encoding in encodings], truncated)

    return encode


def safe_prefix(text: str, limit: int) -> str:
    """The longest prefix of limit / 2 to `limit` characters that ends before a single space between two letters or
    digits; the whole text if there is none.
    """
    if len(text) <= limit:
        return text
    end = text.rfind(" ", limit // 2, limit)
    while end > 0:
        if text[end - 1].isalnum() and text[end + 1].isalnum():
            return text[:end]
        end = text.rfind(" ", limit // 2, end)
    return text


def splits_at_spaces(backend: dict[str, Any]) -> bool:
    """Whether the tokenizer never looks across a single space between two words; `backend`: tokenizer.json."""
    added = (token["content"] for token in backend["added_tokens"])
    splitters = _steps(backend["pre_tokenizer"], "pretokenizers")
    return (
        not any(character.isspace() for content in added for character in content)
        and all(step["type"] in _NORMALIZERS for step in _steps(backend["normalizer"], "normalizers"))
        and bool(splitters)
        and splitters[0]["type"] in _PRE_TOKENIZERS
        and splitters[0].get("use_regex", True)
    )


def _steps(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a sequence of normalizers or pre-tokenizers."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [step for inner in part[name] for step in _steps(inner, name)]
    return [part]
