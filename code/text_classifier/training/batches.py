"""Which rows make which batch, and a batch as tensors.

The order of an epoch is a pure function of the rows' lengths, the batch size, the seed and the epoch's number: it needs
no state to be repeated, on any number of hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from text_classifier.tokenization.tokens import Tokens

#: Batches that are sorted by length together. More waste less padding, fewer mix the rows better.
BATCHES_IN_GROUP = 50


class Inputs(Protocol):
    """What a classifier reads besides tensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """What must be equal in batches that are computed by the same operations."""

    def to(self, device: torch.device, *, non_blocking: bool) -> Inputs:
        """The same on `device`."""

    def pin_memory(self) -> Inputs:
        """The same in memory that a GPU reads by itself, while the host goes on."""

    def copy_(self, other: Any, *, non_blocking: bool) -> object:
        """Become what another of the same shape is."""


class Layout(Protocol):
    """How a classifier wants its batches laid out."""

    groups_by_length: bool  #: whether rows of like length should make a batch

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> Mapping[str, torch.Tensor | Inputs]:
        """The classifier's arguments for these rows, which stand in falling order of their lengths."""


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step.

    `weight` is what a row counts in the loss: the weight of its class, 0 for one that only fills an empty share. The
    mean of the class weights over the training rows is 1, so the loss of a step stays a sum divided by its rows.
    """

    rows: np.ndarray  #: indices in the split, int64 [rows]
    inputs: Mapping[str, torch.Tensor | Inputs]
    targets: torch.Tensor  #: as the task has them (task.py), a row for each row
    weight: torch.Tensor  #: float32 [rows]
    rows_of_all_ranks: int

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for batches that are computed by the same operations."""
        return self.rows_of_all_ranks, *(tuple(part.shape) for part in self._parts())

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`. From pinned memory a GPU copies it by itself, while the host goes on."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in pinned memory."""
        return self._with(lambda part: part.pin_memory())

    def copy_(self, other: Batch) -> None:
        """Overwrite the tensors with those of another batch of the same shape, but not `rows`."""
        for part, others in zip(self._parts(), other._parts(), strict=True):
            part.copy_(others, non_blocking=True)

    def _with(self, change: Callable[[Any], Any]) -> Batch:
        inputs = {name: change(value) for name, value in self.inputs.items()}
        return Batch(self.rows, inputs, change(self.targets), change(self.weight), self.rows_of_all_ranks)

    def _parts(self) -> list[Any]:
        return [*self.inputs.values(), self.targets, self.weight]

    @property
    def computed_tokens(self) -> int:
        """Tokens that the classifier computes, padding included."""
        return max(value.numel() for value in self.inputs.values() if isinstance(value, torch.Tensor))


@dataclass(frozen=True)
class Split:
    """The rows of one split: their tokens and targets (task.py), and the weight of each class (float32)."""

    tokens: Tokens
    targets: np.ndarray
    class_weights: np.ndarray | None = None  #: where targets are classes; None: all 1

    def __len__(self) -> int:
        return len(self.targets)


def epoch_rows(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, *, groups_by_length: bool
) -> list[np.ndarray]:
    """Row indices of each batch of an epoch: every row once, in random order.

    With `groups_by_length` rows of like length stand together, and the batches are in random order. `batch_size` counts
    the rows of all ranks. Only the last batch may be smaller.
    """
    random = np.random.default_rng((seed, 2, epoch))
    order = random.permutation(len(lengths))
    if groups_by_length:
        group = batch_size * BATCHES_IN_GROUP
        grouped = [order[start : start + group] for start in range(0, len(order), group)]
        order = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in grouped])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    full = len(lengths) // batch_size
    return [batches[index] for index in random.permutation(full)] + batches[full:]


def training_batches(
    layout: Layout, split: Split, batches: Iterable[np.ndarray], rank: int, world_size: int
) -> Iterator[Batch]:
    """This rank's share of each batch of rows. The shares are disjoint and make up the batch."""
    for rows in batches:
        share = rows[rank::world_size]
        yield collate(layout, split, share if len(share) else rows[:1], len(rows), counts=len(share) > 0)


def evaluation_rows(split: Split, batch_size: int, rank: int, world_size: int) -> list[np.ndarray]:
    """Row indices of this rank's evaluation batches, longest rows first: memory runs out at once or never.

    All ranks have the same number of batches; the last one may be empty.
    """
    order = np.argsort(-split.tokens.lengths, kind="stable")
    group = batch_size * world_size
    return [order[start : start + group][rank::world_size] for start in range(0, len(order), group)]


def collate(layout: Layout, split: Split, rows: np.ndarray, rows_of_all_ranks: int, *, counts: bool = True) -> Batch:
    """Rows as the classifier reads them. They are sorted by length first, which changes no sum over them."""
    rows = rows[np.argsort(-split.tokens.lengths[rows], kind="stable")]
    weight = np.full(len(rows), counts, dtype=np.float32)
    if split.class_weights is not None:
        weight *= split.class_weights[split.targets[rows]]
    return Batch(
        rows,
        layout.inputs(split.tokens, rows),
        torch.from_numpy(split.targets[rows]),
        torch.from_numpy(weight),
        rows_of_all_ranks,
    )
