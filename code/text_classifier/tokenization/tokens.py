"""Tokenization: the token ids of a split in one flat array on disk, mapped into memory."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import IO

import numpy as np
from transformers import PreTrainedTokenizerBase

from text_classifier.contract.errors import SettingsError, printable
from text_classifier.runtime.cpus import usable_cpus
from text_classifier.tokenization.chunks import Chunk, abandon, first_result, regular_expressions
from text_classifier.tokenization.prefix import Encode, Encoded, encoded, prefix_encoder
from text_classifier.tokenization.wordpiece import wordpiece_encoder

#: Texts per call of the tokenizer.
CHUNK = 2_000


@dataclass(frozen=True)
class Tokens:
    """Row r is `ids[offsets[r]:offsets[r + 1]]`, with special tokens."""

    ids: np.ndarray  #: int32 [tokens]
    offsets: np.ndarray  #: int64 [rows + 1]
    truncated: int = 0  #: number of truncated rows

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [rows]."""
        return np.diff(self.offsets)

    @cached_property
    def max_seqlen(self) -> int:
        """Tokens of the longest row."""
        return int(self.lengths.max())

    def take(self, rows: np.ndarray) -> Tokens:
        """A copy of the rows with these indices, in their order; how many were truncated is not known of it."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])])
        return replace(self, ids=self.flat(rows), offsets=offsets, truncated=0)

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """Token ids of these rows, concatenated, int32."""
        return np.concatenate([self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows])


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, file: IO[bytes] | None = None
) -> Tokens:
    """Tokenize and truncate to `max_length` tokens. The ids are those of `tokenizer(text, truncation=True)`.

    Neither texts nor ids are held in memory: `texts` is read in chunks, and the ids are written to `file` and mapped
    from it; without one, from a temporary file, which vanishes when the process ends.
    """
    encode = encoder(tokenizer, max_length)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    row = truncated = 0
    with file or tempfile.TemporaryFile() as file:  # the mapping outlives the closed file
        for chunk in _in_order(encode, texts, regular_expressions(tokenizer)):
            file.write(chunk.ids.data)
            offsets[row + 1 : row + 1 + len(chunk.counts)] = chunk.counts
            row += len(chunk.counts)
            truncated += chunk.truncated
        file.flush()
        np.cumsum(offsets, out=offsets)
        return Tokens(_mapped(file, int(offsets[-1])), offsets, truncated)


def encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode:
    """The fastest encoder with the ids of `tokenizer(text, truncation=True)`. Threads may call it at once."""
    return (
        wordpiece_encoder(tokenizer, max_length)
        or prefix_encoder(tokenizer, max_length)
        or _plain_encoder(tokenizer, max_length)
    )


def _in_order(encode: Encode, texts: Sequence[str], patterns: Sequence[str]) -> Iterator[Encoded]:
    """Encode chunks in parallel, one per CPU; yields their results in order."""
    workers, chunks = max(2, usable_cpus()), deque[Chunk]()
    try:
        for start in range(0, len(texts), CHUNK):
            if len(chunks) == workers:
                yield first_result(chunks, patterns)
                chunks.popleft()
            chunks.append(Chunk(partial(_slice, texts, start), partial(_encode, encode)))
        while chunks:
            yield first_result(chunks, patterns)
            chunks.popleft()
    finally:
        abandon(chunks)


def _slice(texts: Sequence[str], start: int) -> list[str]:
    return list(texts[start : start + CHUNK])


def _encode(encode: Encode, texts: list[str]) -> Encoded:
    """Raises SettingsError for whatever the model's tokenizer raises on a text."""
    try:
        return encode(texts)
    except MemoryError:
        raise
    except BaseException as error:
        # A panic in the tokenizers library is no Exception, so that nobody catches it by accident.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = printable(f"{type(error).__name__}: {error}")[:300]
        raise SettingsError(
            f"the model's tokenizer fails on a text ({reason}); use the tokenizer that the model was trained with"
        ) from None


def _mapped(file: IO[bytes], count: int) -> np.ndarray:
    if not count:
        return np.zeros(0, dtype=np.int32)
    return np.asarray(np.memmap(file, dtype=np.int32, mode="r", shape=(count,)))


def _plain_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode:
    """Any tokenizer of transformers. It does not report truncation: rows of full length count as truncated."""

    def encode(texts: list[str]) -> Encoded:
        ids = tokenizer(
            texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
        )["input_ids"]
        return encoded(ids, sum(len(row) >= max_length for row in ids))

    return encode
