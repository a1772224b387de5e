"""BERT's tokenizer for texts in ASCII, in wordpiece.cpp: the ids of the tokenizers library in a tenth of the time.

Other texts, and those with the name of a special token in them, are the library's.
"""

from __future__ import annotations

import ctypes
import functools
import json
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerBase

from text_classifier.ops.compile import library_path
from text_classifier.tokenization.prefix import Encode, prefix_encoder


def wordpiece_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode | None:
    """As prefix.prefix_encoder, for a tokenizer of BERT's kind; None for others."""
    if not isinstance(getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None), WordPiece):
        return None  # before its vocabulary is written out, which for XLM-RoBERTa's takes long
    ends, between = (tokenizer(text)["input_ids"] for text in ("", "a"))
    others = prefix_encoder(tokenizer, max_length)  # behind the line above: what this sets in the backend must stay
    if others is None or max_length < 3 or len(ends) != 2 or [between[0], between[-1]] != ends:
        return None
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if not _is_known(backend):
        return None
    native = _Native(backend, ends)

    def encode(texts: list[str]) -> tuple[list[list[int]], int]:
        rows = [row for row, text in enumerate(texts) if text.isascii()]
        ids, truncated = native.encode([texts[row] for row in rows], max_length)
        found: list[list[int] | None] = [None] * len(texts)
        for row, own in zip(rows, ids, strict=True):
            found[row] = own
        left = [row for row, own in enumerate(found) if own is None]
        by_library, more = others([texts[row] for row in left])
        for row, own in zip(left, by_library, strict=True):
            found[row] = own
        return found, truncated + more  # type: ignore[return-value]

    return encode


def _is_known(backend: dict[str, Any]) -> bool:
    """Whether wordpiece.cpp does what a tokenizer does, as tokenizer.json describes it."""
    normalizer, splitter = backend["normalizer"] or {}, backend["pre_tokenizer"] or {}
    return (
        backend["model"]["unk_token"] in backend["model"]["vocab"]
        and normalizer.get("type") == "BertNormalizer"
        and normalizer["clean_text"]
        and splitter.get("type") == "BertPreTokenizer"
        and not any(
            token[how] for token in backend["added_tokens"] for how in ("normalized", "lstrip", "rstrip", "single_word")
        )
        and not any(token["content"] == "" for token in backend["added_tokens"])
    )


class _Native:
    """A tokenizer of wordpiece.cpp. `ends` are the first and the last id of every sequence."""

    def __init__(self, backend: dict[str, Any], ends: Sequence[int]) -> None:
        model = backend["model"]
        pieces = [(token.encode(), id) for token, id in model["vocab"].items() if token]
        added = [token["content"].encode() for token in backend["added_tokens"]]
        tokens = [token for token, _ in pieces] + added
        self._characters = b"".join(tokens)  # the library points at the added ones
        self._tokenizer = ctypes.c_void_p(
            _library().make_tokenizer(
                self._characters,
                _pointer(_starts([len(token) for token in tokens])),
                _pointer(np.array([id for _, id in pieces], dtype=np.int32)),
                *map(ctypes.c_int64, (len(pieces), len(tokens))),
                model["continuing_subword_prefix"].encode(),
                *map(ctypes.c_int64, (model["max_input_chars_per_word"], backend["normalizer"]["lowercase"])),
                *map(ctypes.c_int64, (model["vocab"][model["unk_token"]], *ends)),
            )
        )
        weakref.finalize(self, _library().delete_tokenizer, self._tokenizer)

    def encode(self, texts: list[str], max_length: int) -> tuple[list[list[int] | None], int]:
        """The ids of each, None for one that is the library's; how many of them had more."""
        ids = np.empty((len(texts), max_length), dtype=np.int32)
        counts, cut = np.empty(len(texts), dtype=np.int32), np.empty(len(texts), dtype=np.uint8)
        _library().encode(
            self._tokenizer,
            "".join(texts).encode("ascii"),
            _pointer(_starts(list(map(len, texts)))),
            *map(ctypes.c_int64, ids.shape),
            _pointer(ids),
            _pointer(counts),
            _pointer(cut),
        )
        rows = [None if count < 0 else row[:count].tolist() for row, count in zip(ids, counts.tolist(), strict=True)]
        return rows, int(cut[counts >= 0].sum())


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path("wordpiece")))
    library.make_tokenizer.restype = ctypes.c_void_p
    return library


def _starts(lengths: list[int]) -> np.ndarray:
    """Where each begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _pointer(array: np.ndarray) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)
