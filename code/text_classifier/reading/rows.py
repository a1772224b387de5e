"""The rows of a channel: text, target and place of each, hashes for duplicates, group and slice.

The texts are on disk (spool.py); the rest takes about 60 bytes of memory per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from text_classifier.reading.strings import LazyStrings, Strings
from text_classifier.reading.table import place


@dataclass(frozen=True)
class Places(LazyStrings):
    """Where each row stands: file and line, as in `train/file.tsv line 7`."""

    files: Sequence[str]  #: name and unit, as in `train/file.tsv line`
    file_of: np.ndarray  #: index in `files`, uint32 [rows]
    numbers: np.ndarray  #: uint32 [rows]
    lines: np.ndarray  #: uint32 [rows]

    def take(self, rows: np.ndarray) -> Places:
        """The places of the rows with these indices, in their order."""
        return Places(self.files, self.file_of[rows], self.numbers[rows], self.lines[rows])

    def __len__(self) -> int:
        return len(self.numbers)

    def string(self, row: int) -> str:
        return place(self.files[self.file_of[row]], self.numbers[row], self.lines[row])


@dataclass(frozen=True)
class Rows:
    """Rows of a channel."""

    channel: str
    texts: Strings  #: as in pairs.py if they are pairs
    places: Places
    targets: np.ndarray  #: as the task defines them, [rows] or [rows, labels]
    characters: np.ndarray  #: length of the text, or of both of a pair, uint32 [rows]
    exact: np.ndarray  #: hash of the text, uint64 [rows]
    near: np.ndarray  #: hash of the lowercased text without white space, uint64 [rows]
    groups: np.ndarray  #: hash of the group, uint64 [rows]; empty without a group column
    slices: np.ndarray  #: index of the slice in `slice_values`, int64 [rows]; empty without a slice column
    slice_values: tuple[str, ...] = ()
    ids: Strings | None = None  #: value of the id column, if there is one
    dropped: int = 0  #: rows dropped because their label is not in the map
    unlabelled: int = 0  #: rows dropped because they have no label
    notes: tuple[str, ...] = ()  #: what the user should know of the files, one sentence each

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> Rows:
        """The rows with these indices, in their order."""
        return Rows(
            channel=self.channel,
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
