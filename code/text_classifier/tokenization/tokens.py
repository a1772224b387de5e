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
from text_classifier.reading.strings import Strings, mapped
from text_classifier.runtime.cpus import usable_cpus
from text_classifier.tokenization.chunks import Chunk, abandon, first_result, regular_expressions
from text_classifier.tokenization.pairs import pair_encoder
from text_classifier.tokenization.prefix import Encode, Encoded, encoded, prefix_encoder
from text_classifier.tokenization.truncation import cutting_encoder
from text_classifier.tokenization.windows import Windowing, Windows, starts
from text_classifier.tokenization.wordpiece import wordpiece_encoder

#: Texts per call of the tokenizer, and of those that are divided into windows: they are longer.
CHUNK, CHUNK_OF_LONG = 4_000, 100


@dataclass(frozen=True)
class Tokens:
    """Row r is `ids[offsets[r]:offsets[r + 1]]`, with special tokens: a text, or with `windows` one of its windows."""

    ids: np.ndarray  #: int32 [tokens]
    offsets: np.ndarray  #: int64 [rows + 1]
    truncated: int = 0  #: number of truncated texts
    windows: Windows | None = None  #: which rows are the windows of which text; None: each row is a text
    second: np.ndarray | None = None  #: index in each row of the first token of type 1; None: all are of type 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [rows]."""
        return np.diff(self.offsets)

    @property
    def text_lengths(self) -> np.ndarray:
        """Tokens of each text as far as it is read, int64 [texts]."""
        return self.lengths if self.windows is None else self.windows.lengths

    @cached_property
    def max_seqlen(self) -> int:
        """Tokens of the longest row."""
        return int(self.lengths.max())

    def take(self, texts: np.ndarray) -> Tokens:
        """A copy of the texts with these indices, in their order; how many were truncated is not known of it."""
        windows = None if self.windows is None else self.windows.take(texts)
        rows = texts if self.windows is None else self.windows.rows_of(texts)
        offsets = starts([self.lengths[rows]])
        second = None if self.second is None else self.second[rows]
        return replace(self, ids=self.flat(rows), offsets=offsets, truncated=0, windows=windows, second=second)

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """Token ids of these rows, concatenated, int32."""
        return np.concatenate([self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows])

    def types(self, rows: np.ndarray) -> np.ndarray | None:
        """Token types of these rows, concatenated, int64; None where all tokens are of type 0."""
        if self.second is None:
            return None
        return np.concatenate([np.arange(self.lengths[row]) >= self.second[row] for row in rows]).astype(np.int64)


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    file: IO[bytes] | None = None,
    *,
    stride: int | None = None,
    is_pair: bool = False,
    truncation: str = "head",
) -> Tokens:
    """Tokenize and truncate to `max_length` tokens. The ids are those of `tokenizer(text, truncation=True)`, or of
    `tokenizer(first, second, truncation="longest_first")` for pairs (reading/pairs.py); of single texts, `truncation`
    says which tokens are kept.

    With a `stride`, longer texts are divided into windows: see `encoder`.

    Neither texts nor ids are held in memory: `texts` is read in chunks, and the ids are written to `file` and mapped
    from it; without one, from a temporary file, which vanishes when the process ends.
    """
    encode = encoder(tokenizer, max_length, stride, is_pair=is_pair, truncation=truncation)
    counts: list[np.ndarray] = []
    windows: list[Windows] = []
    seconds: list[np.ndarray] = []
    truncated = 0
    with file or tempfile.TemporaryFile() as file:  # the mapping outlives the closed file
        size = CHUNK if stride is None else CHUNK_OF_LONG
        for chunk in _in_order(encode, texts, size, regular_expressions(tokenizer)):
            file.write(chunk.ids.data)
            counts.append(chunk.counts)
            windows += [] if chunk.windows is None else [chunk.windows]
            truncated += chunk.truncated
            if chunk.second is not None:
                seconds.append(chunk.second)
        file.flush()
        offsets = starts(counts)
        ids = mapped(file).view(np.int32)
        second = np.concatenate(seconds).astype(np.int32) if seconds else None
        joined = None if stride is None else Windows.joined(windows)
        return Tokens(ids, offsets, truncated, windows=joined, second=second)


def encoder(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    stride: int | None = None,
    *,
    is_pair: bool = False,
    truncation: str = "head",
) -> Encode:
    """The fastest encoder with the ids of `tokenizer(text, truncation=True)`, or as in `tokenize`.

    With a `stride` the ids are those of `tokenizer(text, return_overflowing_tokens=True, stride=stride)`, for at most
    MOST_WINDOWS windows of a text. Threads may call it at once. Raises SettingsError for a tokenizer without pairs.
    """
    if stride is not None:
        return _window_encoder(tokenizer, Windowing.of(tokenizer, max_length, stride))
    if truncation != "head":
        return cutting_encoder(tokenizer, max_length, truncation)
    if is_pair:
        return pair_encoder(tokenizer, max_length)
    return (
        wordpiece_encoder(tokenizer, max_length)
        or prefix_encoder(tokenizer, max_length)
        or _plain_encoder(tokenizer, max_length)
    )


def _window_encoder(tokenizer: PreTrainedTokenizerBase, windowing: Windowing) -> Encode:
    tokenizer.truncation_side = "right"  # whatever it was saved with: windows start at a text's beginning
    encode = encoder(tokenizer, windowing.longest)
    return lambda texts: divided(encode(texts), windowing)


def divided(texts: Encoded, windowing: Windowing) -> Encoded:
    """The windows of whole texts."""
    ids, counts, windows = windowing.cut(texts.ids, texts.counts)
    return Encoded(ids, counts, texts.truncated, windows=windows)


def _in_order(encode: Encode, texts: Sequence[str], size: int, patterns: Sequence[str]) -> Iterator[Encoded]:
    """Encode chunks of this size in parallel; yields their results in order."""
    # More than CPUs: those that are done wait for an earlier one, and for their ids to be written.
    workers, chunks = usable_cpus() + 4, deque[Chunk]()
    try:
        for start in range(0, len(texts), size):
            if len(chunks) == workers:
                yield first_result(chunks, patterns)
                chunks.popleft()
            read = partial(_part, texts, start, start + size)
            chunks.append(Chunk(read, partial(_encode, encode), counts=bool(patterns)))
        while chunks:
            yield first_result(chunks, patterns)
            chunks.popleft()
    finally:
        abandon(chunks)


def _part(texts: Sequence[str], start: int, end: int) -> Sequence[str]:
    """The texts from one index to another. Those on disk are not made Python's."""
    return texts.part(start, end) if isinstance(texts, Strings) else texts[start:end]


def _encode(encode: Encode, texts: Sequence[str]) -> Encoded:
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


def _plain_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode:
    """Any tokenizer of transformers. It does not report truncation: rows of full length count as truncated."""

    def encode(texts: Sequence[str]) -> Encoded:
        ids = tokenizer(
            list(texts),
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return encoded(ids, sum(len(row) >= max_length for row in ids))

    return encode
