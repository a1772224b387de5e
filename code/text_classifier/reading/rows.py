"""The rows of a channel: text, target and place of each, hashes for duplicates, group and slice.

The texts are on disk (spool.py); the rest takes about 40 bytes of memory per row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


class Lookup(Sequence[str]):
    """A string per row, made by `find` from the row's number in the channel when it is asked for."""

    def __init__(self, find: Callable[[int], str], rows: np.ndarray) -> None:
        self._find = find
        self._rows = rows

    def take(self, rows: np.ndarray) -> Lookup:
        """The strings of the rows with these indices, in their order."""
        return Lookup(self._find, self._rows[rows])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._find(row) for row in self._rows[index].tolist()]
        return self._find(int(self._rows[index]))


@dataclass(frozen=True)
class Rows:
    """Rows of a channel. A place is file and line, as in `train/file.tsv line 7`."""

    texts: Lookup  #: as in pairs.py if they are pairs
    places: Lookup
    targets: np.ndarray  #: as the task defines them, [rows] or [rows, labels]
    characters: np.ndarray  #: length of the text, or of both of a pair, uint32 [rows]
    exact: np.ndarray  #: hash of the text, uint64 [rows]
    near: np.ndarray  #: hash of the lowercased text without white space, uint64 [rows]
    groups: np.ndarray  #: hash of the group, uint64 [rows]; empty without a group column
    slices: np.ndarray  #: index of the slice in `slice_values`, int64 [rows]; empty without a slice column
    slice_values: tuple[str, ...] = ()
    ids: Lookup | None = None  #: value of the id column, if there is one
    dropped: int = 0  #: rows dropped because their label is not in the map
    unlabelled: int = 0  #: rows dropped because they have no label
    notes: tuple[str, ...] = ()  #: what the user should know of the files, one sentence each

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> Rows:
        """The rows with these indices, in their order."""
        return Rows(
            texts=self.texts.take(rows),
            places=self.places.take(rows),
            ids=None if self.ids is None else self.ids.take(rows),
            targets=self.targets[rows],
            characters=self.characters[rows],
            exact=self.exact[rows],
            near=self.near[rows],
            groups=self.groups[rows] if len(self.groups) else self.groups,
            slices=self.slices[rows] if len(self.slices) else self.slices,
            slice_values=self.slice_values,
            dropped=self.dropped,
            unlabelled=self.unlabelled,
            notes=self.notes,
        )
