"""Which rows make which batch, and a batch as tensors.

The order of an epoch is a pure function of the rows' lengths, the batch size, the seed and the epoch's number: it needs
no state to be repeated, on any number of hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tokens import Tokens

#: Batches that are sorted by length together. More waste less padding, fewer mix the rows better.
BATCHES_IN_GROUP = 50


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step. `weight` is 1 for a row that counts, 0 for one that only fills an empty share."""

    input_ids: torch.Tensor  #: int64 [rows, longest]
    attention_mask: torch.Tensor  #: int64 [rows, longest], 1 for a token, 0 for padding
    classes: torch.Tensor  #: int64 [rows]
    weight: torch.Tensor  #: float32 [rows]
    rows_of_all_ranks: int

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.classes.to(device),
            self.weight.to(device),
            self.rows_of_all_ranks,
        )


@dataclass(frozen=True)
class Split:
    """The rows of one split: their tokens and classes (int64 [rows])."""

    tokens: Tokens
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


def epoch_rows(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row indices of each batch of an epoch: every row once, rows of like length together, batches in random order.

    `batch_size` counts the rows of all ranks. Only the last batch may be smaller.
    """
    random = np.random.default_rng((seed, 2, epoch))
    order = random.permutation(len(lengths))
    group = batch_size * BATCHES_IN_GROUP
    grouped = [order[start : start + group] for start in range(0, len(order), group)]
    order = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in grouped])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    full = len(lengths) // batch_size
    return [batches[index] for index in random.permutation(full)] + batches[full:]


def training_batches(
    split: Split, pad_id: int, batch_size: int, seed: int, epoch: int, rank: int, world_size: int
) -> Iterator[Batch]:
    """The batches of an epoch, this rank's share of each. The shares of all ranks are disjoint and make up the batch."""
    for rows in epoch_rows(split.tokens.lengths, batch_size, seed, epoch):
        share = rows[rank::world_size]
        yield collate(split, share if len(share) else rows[:1], pad_id, len(rows), counts=len(share) > 0)


def evaluation_rows(split: Split, batch_size: int, rank: int, world_size: int) -> list[np.ndarray]:
    """Row indices of this rank's evaluation batches, longest rows first: memory runs out at once or never."""
    order = np.argsort(-split.tokens.lengths, kind="stable")[rank::world_size]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def collate(split: Split, rows: np.ndarray, pad_id: int, rows_of_all_ranks: int, *, counts: bool = True) -> Batch:
    """Pad the rows to the longest of them."""
    lengths = split.tokens.lengths[rows]
    attention_mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    input_ids = np.full(attention_mask.shape, pad_id, dtype=np.int64)
    input_ids[attention_mask] = np.concatenate([split.tokens.row(row) for row in rows])
    return Batch(
        torch.from_numpy(input_ids),
        torch.from_numpy(attention_mask.astype(np.int64)),
        torch.from_numpy(split.classes[rows]),
        torch.full((len(rows),), float(counts)),
        rows_of_all_ranks,
    )
