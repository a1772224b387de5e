"""Notices the first step whose loss or gradient is not finite, and which rows it was computed on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

#: On a GPU reading a loss makes the host wait for it, so many are read at once.
STEPS_BETWEEN_CHECKS_ON_GPU = 25


class LossNotFinite(Exception):
    """The loss of a step is NaN or infinite; `rows` are the indices of the training rows of that step."""

    def __init__(self, loss: float, step: int, rows: Sequence[int]) -> None:
        super().__init__(f"loss {loss} at step {step}")
        self.loss = loss
        self.step = step
        self.rows = rows

    def sentence(self, places: Sequence[str], learning_rate: float) -> str:
        """Say it to a person; `places` are where the rows stand in the files."""
        others = f" and {len(places) - 1} other rows" if len(places) > 1 else ""
        return (
            f"the loss is {self.loss} at step {self.step}, on {places[0]}{others}; lower learning_rate="
            f"{learning_rate:g} (no model is saved)\nrows of the step: {', '.join(places)}"
        )


class LossWatch:
    """Takes in the loss of each step. `rows_of_step` gives the row indices of a step, counted from 1."""

    def __init__(self, device: torch.device, rows_of_step: Callable[[int], np.ndarray]) -> None:
        self._interval = 1 if device.type == "cpu" else STEPS_BETWEEN_CHECKS_ON_GPU
        self._rows_of_step = rows_of_step
        self._pending: list[tuple[int, torch.Tensor]] = []

    def add(self, step: int, loss: torch.Tensor) -> None:
        """Remember a loss; now and then check those remembered. Raises LossNotFinite."""
        self._pending.append((step, loss))
        if len(self._pending) >= self._interval:
            self.check()

    def check(self) -> None:
        """Raise LossNotFinite if one of the losses not yet checked is not finite."""
        if not self._pending:
            return
        steps, losses = zip(*self._pending, strict=True)
        self._pending.clear()
        for step, loss in zip(steps, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise LossNotFinite(loss, step, self._rows_of_step(step).tolist())
