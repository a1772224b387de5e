"""Batches that do not fit into GPU memory at once: they are computed as micro-batches, which are found by halving.

A step on micro-batches has the gradient of the whole batch: each contributes the sum over its rows, divided by the rows
of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from text_classifier.contract.errors import is_gpu_out_of_memory
from text_classifier.ops.sequences import Place
from text_classifier.training.batches import Batch, Layout, Split, collate
from text_classifier.training.cluster import Cluster
from text_classifier.training.step import Finish, Outcome, Steps

T = TypeVar("T")

#: More tokens than any batch has.
UNLIMITED = 1 << 40


class TokenLimit:
    """The most tokens that are computed at once, padding included. A row of more is computed alone."""

    def __init__(self, purpose: str, tokens: int = 0) -> None:
        """`purpose`: of the batches, for the log. 0: no limit until memory runs out."""
        self._purpose = purpose
        self.tokens = self._said = tokens or UNLIMITED

    @property
    def is_reached(self) -> bool:
        """Whether there is a limit."""
        return self.tokens < UNLIMITED

    def restore(self, tokens: int) -> None:
        """Continue with the limit of a checkpoint, unless the own one is lower."""
        self.tokens = self._said = min(self.tokens, tokens)

    def settle(self, tokens: int, cluster: Cluster) -> None:
        """Take the limit that the ranks have agreed on, and say it if it is new."""
        self.tokens = tokens
        if tokens < self._said:
            self._said = tokens
            cluster.print0(
                f"GPU memory ran out: {self._purpose} batches of more than {tokens:,} tokens are computed in "
                "micro-batches from now on (max_tokens_per_gpu)"
            )

    def agree(self, cluster: Cluster) -> None:
        """Settle on the lowest limit of all ranks; all must call it."""
        (lowest,) = cluster.largest_each(-self.tokens)
        self.settle(-lowest, cluster)


def micro_batches(layout: Layout, split: Split, batch: Batch, most: int) -> list[Batch]:
    """The batch as micro-batches of at most `most` tokens or one row, by halving what is larger."""
    if batch.computed_tokens <= most or len(batch.rows) == 1:
        return [batch]
    tokens_before = np.concatenate([[0], np.cumsum(split.tokens.lengths[batch.rows])])
    found: list[Batch] = []

    def add(first: int, end: int) -> None:
        part = collate(layout, split, batch.rows[first:end], batch.rows_of_all_ranks)
        if part.computed_tokens > most and end - first > 1:
            middle = (first + end + 1) // 2
            add(first, middle)
            add(middle, end)
        else:
            found.append(part.placed(Place(int(tokens_before[first]), first, len(batch.rows))))

    add(0, len(batch.rows))
    return found


def within_memory(
    layout: Layout,
    split: Split,
    batch: Batch,
    limit: TokenLimit,
    compute: Callable[[Sequence[Batch]], T],
    release: Callable[[], object],
) -> T:
    """compute(micro-batches), again with smaller ones after `release` while GPU memory runs out.

    Lowers `limit` to what fits. Raises the error if memory runs out even with one row at a time.
    """
    while True:
        parts = micro_batches(layout, split, batch, limit.tokens)
        try:
            return compute(parts)
        except Exception as error:
            largest = max((part.computed_tokens for part in parts if len(part.rows) > 1), default=0)
            if not largest or not is_gpu_out_of_memory(error):
                raise
        # The traceback of the error, which is gone by now, held the activations.
        limit.tokens = largest // 2
        release()


class StepWithinMemory:
    """Steps on batches on the host, of whatever size."""

    def __init__(self, steps: Steps, layout: Layout, split: Split, limit: TokenLimit, device: torch.device) -> None:
        self._steps = steps
        self._layout = layout
        self._split = split
        self._limit = limit
        self._device = device
        self.computed_tokens = 0  #: of the last step, padding included

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step. A repeated attempt draws the random numbers of the first one."""
        random = torch.get_rng_state()
        random_cuda = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None

        def compute(parts: Sequence[Batch]) -> Finish:
            self.computed_tokens = sum(part.computed_tokens for part in parts)
            return self._steps.compute(parts)

        def release() -> None:
            self._steps.release()
            torch.set_rng_state(random)
            if random_cuda is not None:
                torch.cuda.set_rng_state(random_cuda, self._device)

        finish = within_memory(self._layout, self._split, batch, self._limit, compute, release)
        return finish()
