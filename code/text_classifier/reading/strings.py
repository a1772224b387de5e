"""Strings on disk, in UTF-8, which are mapped into memory: most are never made Python's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, overload

import numpy as np


class LazyStrings(Sequence[str]):
    """Strings that become Python's when they are asked for."""

    @abstractmethod
    def string(self, row: int) -> str:
        """The string with this index, which is in range."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        found = range(len(self))[index]
        return self.string(found) if isinstance(found, int) else [self.string(row) for row in found]


@dataclass(frozen=True)
class Strings(LazyStrings):
    """String i is `content[starts[i]:ends[i]]`."""

    content: np.ndarray  #: UTF-8, uint8 [bytes]; may have more than these strings
    starts: np.ndarray  #: int64 [strings]
    ends: np.ndarray  #: int64 [strings]

    @classmethod
    def joined(cls, content: np.ndarray, offsets: np.ndarray) -> Strings:
        """Strings one after another: where each begins, and the end of the last."""
        return cls(content, offsets[:-1], offsets[1:])

    @classmethod
    def of(cls, strings: Sequence[str]) -> Strings:
        """The same strings in UTF-8, in which half a surrogate pair is three bytes."""
        if isinstance(strings, Strings):
            return strings
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        return cls.joined(np.frombuffer(b"".join(encoded), np.uint8), offsets_of(list(map(len, encoded))))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def size(self) -> int:
        """Bytes of these strings."""
        return int((self.ends - self.starts).sum())

    def string(self, row: int) -> str:
        return self.content[self.starts[row] : self.ends[row]].tobytes().decode()

    def take(self, rows: np.ndarray) -> Strings:
        """The strings with these indices, in their order. Their content is not copied."""
        return Strings(self.content, self.starts[rows], self.ends[rows])

    def part(self, start: int, end: int) -> Strings:
        """The strings from one index to another."""
        return Strings(self.content, self.starts[start:end], self.ends[start:end])


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each begins of those with these lengths, and the end of the last, int64 [lengths + 1]."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def mapped(file: IO[bytes]) -> np.ndarray:
    """The content of a file that was flushed, mapped read-only, uint8. It outlives the open file."""
    file.seek(0, 2)
    if not file.tell():  # an empty file cannot be mapped
        return np.zeros(0, dtype=np.uint8)
    return np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
