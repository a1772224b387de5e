"""BERT's tokenizer for ASCII texts, in wordpiece.cpp: the ids of the tokenizers library in a tenth of the time.

Other texts, and those that contain an added token such as [SEP], are tokenized by the tokenizers library, unless they
are truncated before.
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

from text_classifier.contract.errors import PlatformError
from text_classifier.ops.choice import VARIABLE, choice, reason_of, warn_once
from text_classifier.ops.compile import library_path
from text_classifier.reading.strings import Strings, offsets_of
from text_classifier.tokenization.prefix import Encode, Encoded, prefix_encoder

#: Characters of the longest word that wordpiece.cpp splits: it allocates them, and its process ends where it cannot.
LONGEST_WORD = 10_000

#: Nodes of its trie, which has one at most for each byte of the vocabulary: their numbers have 24 bits.
MOST_NODES = 1 << 24


def wordpiece_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode | None:
    """As prefix.prefix_encoder, for a WordPiece tokenizer like BERT's; None for others."""
    if not isinstance(getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None), WordPiece):
        return None  # before to_str(), which takes long for XLM-RoBERTa's vocabulary
    ends, between = (tokenizer(text)["input_ids"] for text in ("", "a"))
    fallback = prefix_encoder(tokenizer, max_length)  # after the line above, which resets the backend's truncation
    if fallback is None or max_length < 3 or len(ends) != 2 or [between[0], between[-1]] != ends:
        return None
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if not _is_supported(backend):
        return None
    return _checked(backend, ends, fallback, max_length)


#: Words in and out of the vocabulary, case, digits, punctuation, control characters, a long word, an empty text, and
#: one that is left to the library.
CHECKED = [
    "",
    "The battery died after 3 days!",
    "Un-believably SLOW;\tI'd NOT buy it (again)\x07...",
    "x" * 150,
    "Stra\u00dfe",
]


def _checked(backend: dict[str, Any], ends: Sequence[int], fallback: Encode, max_length: int) -> Encode | None:
    """An encoder by wordpiece.cpp, and for other texts by `fallback`, if on this machine it gives the ids of the
    tokenizers library; else None, with a WARNING.

    TEXT_OPS is obeyed as in ops/selftest.py. Raises PlatformError for TEXT_OPS=native, SettingsError for a wrong value.
    """
    wanted = choice()
    if wanted == "reference":
        return None
    try:
        encode = functools.partial(_encode, _Native(backend, ends), fallback, max_length=max_length)
        if not np.array_equal(encode(CHECKED).ids, fallback(CHECKED).ids):
            raise ArithmeticError("its ids are not those of the tokenizers library")
    except Exception as error:  # whatever is wrong with it, the library does its work
        reason = reason_of(error)
        if wanted == "native":
            raise PlatformError(
                f"{VARIABLE}=native, and wordpiece.cpp cannot be used ({reason}); set {VARIABLE}=auto to tokenize "
                "with the tokenizers library"
            ) from None
        warn_once(f"WARNING: the tokenizers library replaces wordpiece.cpp, and tokenization is slower: {reason}")
        return None
    return encode


def _encode(native: _Native, fallback: Encode, texts: Sequence[str], *, max_length: int) -> Encoded:
    """The ids of texts: those that `native` leaves out are encoded by `fallback`."""
    found = native.encode(texts, max_length)
    is_done = found.counts >= 0
    if is_done.all():
        return found
    others = fallback([texts[row] for row in np.flatnonzero(~is_done).tolist()])
    counts = found.counts
    counts[~is_done] = others.counts
    ids, is_native = np.empty(counts.sum(), np.int32), np.repeat(is_done, counts)
    ids[is_native], ids[~is_native] = found.ids, others.ids
    return Encoded(ids, counts, found.truncated + others.truncated)


def _is_supported(backend: dict[str, Any]) -> bool:
    """Whether wordpiece.cpp implements this tokenizer; `backend`: tokenizer.json."""
    normalizer, splitter = backend["normalizer"] or {}, backend["pre_tokenizer"] or {}
    model = backend["model"]
    return (
        model["unk_token"] in model["vocab"]
        and 0 < model["max_input_chars_per_word"] <= LONGEST_WORD
        and sum(len(token.encode()) for token in model["vocab"]) < MOST_NODES
        and normalizer.get("type") == "BertNormalizer"
        and normalizer["clean_text"]
        and splitter.get("type") == "BertPreTokenizer"
        and not any(
            token[flag]
            for token in backend["added_tokens"]
            for flag in ("normalized", "lstrip", "rstrip", "single_word")
        )
        and not any(token["content"] == "" for token in backend["added_tokens"])
    )


class _Native:
    """A tokenizer of wordpiece.cpp. `ends`: the first and the last id of every sequence."""

    def __init__(self, backend: dict[str, Any], ends: Sequence[int]) -> None:
        model = backend["model"]
        pieces = [(token.encode(), id) for token, id in model["vocab"].items() if token]
        added = [token["content"].encode() for token in backend["added_tokens"]]
        tokens = [token for token, _ in pieces] + added
        self._characters = b"".join(tokens)  # the library keeps pointers into it
        self._tokenizer = _library().make_tokenizer(
            self._characters, _pointer(offsets_of([len(token) for token in tokens])),
            _pointer(np.array([id for _, id in pieces], dtype=np.int32)), len(pieces), len(tokens),
            model["continuing_subword_prefix"].encode(), model["max_input_chars_per_word"],
            backend["normalizer"]["lowercase"], model["vocab"][model["unk_token"]], *ends,
        )  # fmt: skip
        weakref.finalize(self, _library().delete_tokenizer, self._tokenizer)

    def encode(self, texts: Sequence[str], max_length: int) -> Encoded:
        """The ids of texts. One has none, and a count of -1, if it has an added token, or another character than those
        of ASCII, before it is truncated."""
        rows, packed = len(texts), Strings.of(texts)
        size = min(rows * max_length, packed.size + 2 * rows)  # no token is an empty string
        ids = np.empty(size, dtype=np.int32)
        counts, truncated = np.empty(rows, dtype=np.int32), np.empty(rows, dtype=np.uint8)
        inputs = _pointer(packed.content), _pointer(packed.starts), _pointer(packed.ends)
        outputs = _pointer(ids), _pointer(counts), _pointer(truncated)
        total = _library().encode(self._tokenizer, *inputs, rows, max_length, *outputs)
        return Encoded(ids[:total], counts.astype(np.int64), int(truncated[counts >= 0].sum()))


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path("wordpiece")))
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64
    library.make_tokenizer.restype = pointer
    library.make_tokenizer.argtypes = [text, pointer, pointer, integer, integer, text, *[integer] * 5]
    library.encode.restype = integer
    library.encode.argtypes = [*[pointer] * 4, integer, integer, pointer, pointer, pointer]
    library.delete_tokenizer.argtypes = [pointer]
    return library


def _pointer(array: np.ndarray) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)
