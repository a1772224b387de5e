"""The losses of the steps: the first that is not finite, with the rows it was computed on, and the curve of all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

#: On a GPU reading a loss makes the host wait for it, so many are read at once.
STEPS_BETWEEN_CHECKS_ON_GPU = 25

#: Points of the curve, at most; there are at least half as many once there are so many steps.
POINTS = 400


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


class LossCurve:
    """The mean loss of a row over the steps, as at most POINTS points of equally many steps each.

    When there would be more, two at a time become one. A checkpoint keeps it whole.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._steps_of_point = 1
        self._sums: list[float] = []
        self._rows: list[int] = []

    def add(self, loss: float, rows: int) -> None:
        """Take in the next step: the sum of the losses of its rows, and their number."""
        if self.steps % self._steps_of_point == 0:
            self._sums.append(0.0)
            self._rows.append(0)
        self.steps += 1
        self._sums[-1] += loss
        self._rows[-1] += rows
        if len(self._sums) > POINTS:
            self._steps_of_point *= 2
            self._sums = [sum(self._sums[start : start + 2]) for start in range(0, len(self._sums), 2)]
            self._rows = [sum(self._rows[start : start + 2]) for start in range(0, len(self._rows), 2)]

    def points(self) -> dict[str, list[Any]]:
        """The last step of each point, and its mean loss."""
        ends = range(self._steps_of_point, len(self._sums) * self._steps_of_point + 1, self._steps_of_point)
        return {
            "steps": [min(end, self.steps) for end in ends],
            "losses": [total / rows for total, rows in zip(self._sums, self._rows, strict=True)],
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a copy, which is written while the curve goes on."""
        return copy.deepcopy(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        vars(self).update(state)


class LossWatch:
    """Takes in the loss of each step, and hands it to the curve when it is read from the device.

    `rows_of_step` gives the row indices of a step, counted from 1. On a GPU losses are read a while after their steps,
    so that the GPU always has work to go on with.
    """

    def __init__(self, device: torch.device, rows_of_step: Callable[[int], np.ndarray], curve: LossCurve) -> None:
        self._on_host = device.type == "cpu"
        self._rows_of_step = rows_of_step
        self._curve = curve
        self._pending: list[tuple[int, torch.Tensor, int]] = []
        self._in_flight: _Losses | None = None

    def add(self, step: int, loss: torch.Tensor, rows: int) -> None:
        """Remember the sum of the losses of so many rows; now and then check some. Raises LossNotFinite."""
        self._pending.append((step, loss, rows))
        if self._on_host:
            self.check()
        elif len(self._pending) == STEPS_BETWEEN_CHECKS_ON_GPU:
            self._send()

    def check(self) -> None:
        """Raise LossNotFinite if one of the losses not yet checked is not finite. After it the curve is complete."""
        self._send()
        self._read()

    def _send(self) -> None:
        self._read()
        if self._pending:
            self._in_flight = _Losses(self._pending)
            self._pending = []

    def _read(self) -> None:
        if self._in_flight is None:
            return
        losses, self._in_flight = self._in_flight, None
        for step, loss, rows in losses.read():
            if not math.isfinite(loss):
                raise LossNotFinite(loss, step, self._rows_of_step(step).tolist())
            self._curve.add(loss, rows)


class _Losses:
    """Losses of some steps, on their way from the device."""

    def __init__(self, pending: Sequence[tuple[int, torch.Tensor, int]]) -> None:
        self._steps, losses, self._rows = zip(*pending, strict=True)
        together = torch.stack(losses)
        self._arrived = torch.cuda.Event() if together.is_cuda else None
        self._losses = together.to("cpu", non_blocking=True)
        if self._arrived:
            self._arrived.record()

    def read(self) -> list[tuple[int, float, int]]:
        """Wait for them."""
        if self._arrived:
            self._arrived.synchronize()
        return list(zip(self._steps, self._losses.tolist(), self._rows, strict=True))
