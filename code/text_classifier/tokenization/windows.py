"""Texts that are too long for the model, in overlapping windows that it reads one by one (`long_texts=mean`).

Imports no transformers: serving/web.py needs it before these are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from text_classifier.contract.errors import SettingsError
from text_classifier.tokenization.special_tokens import around

#: Windows of a text, at most: what follows is truncated. One text of millions of tokens would outweigh all others.
MOST_WINDOWS = 256


def window_stride(settings: Mapping[str, Any]) -> int | None:
    """The overlap of windows, in tokens, by these hyperparameters; None: long texts are truncated.

    Manifests of older models lack both hyperparameters.
    """
    return int(settings["window_stride"]) if settings.get("long_texts") == "mean" else None


@dataclass(frozen=True)
class Windows:
    """Text t has the windows `first[t]` to `first[t + 1]`, of which the last one is excluded."""

    first: np.ndarray  #: int64 [texts + 1]
    lengths: np.ndarray  #: tokens of each text, int64 [texts]; truncated texts as far as they are read

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        """The windows of texts that follow one another."""
        counts = [part.counts for part in parts]
        return cls(starts(counts), np.concatenate([np.zeros(0, dtype=np.int64), *(part.lengths for part in parts)]))

    @property
    def counts(self) -> np.ndarray:
        """Windows of each text, int64 [texts]; each has at least one."""
        return np.diff(self.first)

    @cached_property
    def texts(self) -> np.ndarray:
        """The text of each window, int64 [windows]."""
        return np.repeat(np.arange(len(self.lengths)), self.counts)

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each window in the training loss, float32 [windows].

        It is 1 / (windows of its text), so that all texts weigh alike, times a factor that makes the mean 1: a step has
        the learning rate and the clipping of one without windows.
        """
        counts = self.counts
        return (len(self.texts) / len(counts) / counts).astype(np.float32)[self.texts]

    def take(self, texts: np.ndarray) -> Windows:
        """The windows of the texts with these indices, in their order, numbered anew."""
        return Windows(starts([self.counts[texts]]), self.lengths[texts])

    def rows_of(self, texts: np.ndarray) -> np.ndarray:
        """The windows of these texts, int64 [windows]."""
        return np.concatenate([np.arange(self.first[text], self.first[text + 1]) for text in texts])

    def means(self, logits: np.ndarray) -> np.ndarray:
        """The mean over the windows of each text, float32 [texts, outputs]. logits: float32 [windows, outputs]."""
        sums = np.add.reduceat(logits.astype(np.float64), self.first[:-1], axis=0)
        return (sums / self.counts[:, None]).astype(np.float32)


def starts(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Where each begins that has so many parts, and the end of the last, int64."""
    return np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *counts]))


@dataclass(frozen=True)
class Windowing:
    """How texts are divided: as by `tokenizer(text, return_overflowing_tokens=True, stride=stride)`."""

    before: np.ndarray  #: special tokens at the start of every window, int32
    after: np.ndarray  #: and at its end
    size: int  #: tokens of a window without the special ones
    step: int  #: tokens from the start of a window to that of the next one

    @classmethod
    def of(cls, tokenizer: Callable[..., Mapping[str, Any]], max_length: int, stride: int) -> Windowing:
        """Windows of at most `max_length` tokens; each repeats the last `stride` tokens of the one before it.

        Raises SettingsError if special tokens and stride leave no room, or if special tokens are not at the ends.
        """
        before, after = around(tokenizer, "long_texts=mean", "long_texts=truncate")
        special = len(before) + len(after)
        size = max_length - special
        if stride >= size:
            raise SettingsError(
                f"window_stride={stride} must be less than the {size} tokens that max_sequence_length={max_length} "
                f"leaves beside {special} special tokens; lower it"
            )
        return cls(np.array(before, np.int32), np.array(after, np.int32), size, size - stride)

    @property
    def longest(self) -> int:
        """Tokens of the longest text that is read to its end."""
        return len(self.before) + len(self.after) + self.size + (MOST_WINDOWS - 1) * self.step

    def cut(self, ids: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, Windows]:
        """Divide texts, given the ids of all of them and the tokens of each, special tokens included (int64 [texts]).

        Returns the same of the windows, and which windows are those of which text.
        """
        special = len(self.before) + len(self.after)
        more = np.maximum(counts - special - self.size, 0)
        windows = Windows(starts([1 + -(-more // self.step)]), counts)
        if not more.any():
            return ids, counts, windows
        text = windows.texts
        offset = (np.arange(len(text)) - windows.first[text]) * self.step
        lengths = np.minimum(self.size, counts[text] - special - offset)
        begins = (np.cumsum(counts) - counts)[text] + len(self.before) + offset
        parts = [ids[:0]]
        for begin, end in zip(begins.tolist(), (begins + lengths).tolist(), strict=True):
            parts += (self.before, ids[begin:end], self.after)
        return np.concatenate(parts), lengths + special, windows
