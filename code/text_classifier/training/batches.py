"""The rows of each batch, and a batch as tensors.

The order of an epoch is a pure function of the rows' lengths, the batch size, the seed and the epoch's number: any
number of hosts can repeat it without stored state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from text_classifier.ops.sequences import Place
from text_classifier.runtime.seeds import SeedStream
from text_classifier.tokenization.tokens import Tokens

#: Batches whose rows are sorted by length together. More of them waste less padding, fewer shuffle better.
BATCHES_IN_GROUP = 50


class Inputs(Protocol):
    """An input of a classifier other than a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Equal in batches that one CUDA graph can compute."""

    def to(self, device: torch.device, *, non_blocking: bool) -> Inputs:
        """A copy on `device`."""

    def pin_memory(self) -> Inputs:
        """A copy in pinned memory, which a GPU reads asynchronously."""

    def copy_(self, other: Any, *, non_blocking: bool) -> object:
        """Overwrite the content with that of another of the same shape."""

    def placed(self, place: Place) -> Inputs:
        """The same, as part of a larger batch."""


class Layout(Protocol):
    """How a classifier wants its batches."""

    is_length_grouped: bool  #: whether a batch should have rows of similar length

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> Mapping[str, torch.Tensor | Inputs]:
        """The classifier's arguments for these rows, which are in descending order of their lengths."""


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step.

    `weight` is a row's weight in the loss: 1, a window's weight, or 0 for a dummy row in an empty share.
    """

    rows: np.ndarray  #: of the split's tokens, int64 [rows]
    inputs: Mapping[str, torch.Tensor | Inputs]
    targets: torch.Tensor  #: the task's targets (tasks/base.py), one per row
    weight: torch.Tensor  #: float32 [rows]
    rows_of_all_ranks: int

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for batches that one CUDA graph can compute."""
        return self.rows_of_all_ranks, *(tuple(part.shape) for part in self._parts())

    def to(self, device: torch.device) -> Batch:
        """A copy on `device`; from pinned memory to a GPU it is asynchronous."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """A copy in pinned memory."""
        return self._with(lambda part: part.pin_memory())

    def copy_(self, other: Batch) -> None:
        """Overwrite the tensors with those of another batch of the same shape, but not `rows`."""
        for part, new in zip(self._parts(), other._parts(), strict=True):
            part.copy_(new, non_blocking=True)

    def placed(self, place: Place) -> Batch:
        """The same rows as part of a larger batch."""
        inputs = {
            name: value if isinstance(value, torch.Tensor) else value.placed(place)
            for name, value in self.inputs.items()
        }
        return replace(self, inputs=inputs)

    @property
    def repeats_dropout(self) -> bool:
        """Whether, on a CPU, a micro-batch that starts from its batch's random state draws that batch's dropout."""
        return not all(isinstance(value, torch.Tensor) for value in self.inputs.values())

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
    """The texts of one split: tokens and targets (tasks/base.py), and the weights of Task.class_weights.

    A row of a batch is a row of the tokens: a text or, with long_texts=mean, a window of one.
    """

    tokens: Tokens
    targets: np.ndarray  #: one per text
    class_weights: np.ndarray | None = None  #: in the training loss, float32 [classes]; None: all 1

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.targets)

    def texts_of(self, rows: np.ndarray) -> np.ndarray:
        """The text of each of these rows, int64 [rows]."""
        windows = self.tokens.windows
        return rows if windows is None else windows.texts[rows]

    def weights_of(self, rows: np.ndarray) -> np.ndarray:
        """The weight of each of these rows in the training loss, float32 [rows]."""
        windows = self.tokens.windows
        return np.ones(len(rows), dtype=np.float32) if windows is None else windows.weights[rows]

    def means(self, logits: np.ndarray) -> np.ndarray:
        """The logits of each text, float32 [texts, outputs], given those of all rows."""
        windows = self.tokens.windows
        return logits if windows is None else windows.means(logits)

    def take(self, texts: np.ndarray) -> Split:
        """The texts with these indices, in their order, with the same class weights."""
        return replace(self, tokens=self.tokens.take(texts), targets=self.targets[texts])


def epoch_rows(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, *, is_length_grouped: bool
) -> list[np.ndarray]:
    """Row indices of each batch of an epoch: every row once, in random order.

    With `is_length_grouped` the rows of a batch have similar lengths; batches stay in random order. `batch_size`:
    of all ranks together. Only the last batch may be smaller.
    """
    random = np.random.default_rng((seed, SeedStream.EPOCH_ORDER, epoch))
    order = random.permutation(len(lengths))
    if is_length_grouped:
        group = batch_size * BATCHES_IN_GROUP
        grouped = [order[start : start + group] for start in range(0, len(order), group)]
        order = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in grouped])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    full = len(lengths) // batch_size
    return [batches[index] for index in random.permutation(full)] + batches[full:]


def training_batches(
    layout: Layout, split: Split, batches: Iterable[np.ndarray], rank: int, world_size: int
) -> Iterator[Batch]:
    """This rank's share of each batch. The shares of all ranks are disjoint and make up the batch."""
    for rows in batches:
        share = rows[rank::world_size]
        yield collate(layout, split, share if len(share) else rows[:1], len(rows), is_dummy=not len(share))


def evaluation_rows(split: Split, batch_size: int, rank: int, world_size: int) -> list[np.ndarray]:
    """Row indices of this rank's evaluation batches, longest rows first: memory runs out in the first batch or never.

    All ranks have the same number of batches; the last one may be empty.
    """
    order = np.argsort(-split.tokens.lengths, kind="stable")
    group = batch_size * world_size
    return [order[start : start + group][rank::world_size] for start in range(0, len(order), group)]


def collate(layout: Layout, split: Split, rows: np.ndarray, rows_of_all_ranks: int, *, is_dummy: bool = False) -> Batch:
    """The batch of these rows, sorted by length. A dummy batch has weight 0 in the loss."""
    rows = rows[np.argsort(-split.tokens.lengths[rows], kind="stable")]
    weight = split.weights_of(rows) * np.float32(not is_dummy)
    return Batch(
        rows,
        layout.inputs(split.tokens, rows),
        torch.from_numpy(split.targets[split.texts_of(rows)]),
        torch.from_numpy(weight),
        rows_of_all_ranks,
    )
