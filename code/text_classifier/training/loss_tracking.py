"""Losses of the steps: detects the first that is not finite, with its rows, and records the loss curve."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

#: Reading a loss from a GPU waits for its step, so losses are read in groups.
STEPS_BETWEEN_CHECKS_ON_GPU = 25

#: Maximum number of points of the curve; at least half of it is used once there are as many steps.
POINTS = 400


class LossNotFinite(Exception):
    """The loss of a step is NaN or infinite; `rows`: indices of its training rows."""

    def __init__(self, loss: float, step: int, rows: Sequence[int]) -> None:
        super().__init__(f"loss {loss} at step {step}")
        self.loss = loss
        self.step = step
        self.rows = rows

    def sentence(self, places: Sequence[str], learning_rate: float) -> str:
        """The message for the user; `places`: file and line of each row."""
        others = f" and {len(places) - 1} other rows" if len(places) > 1 else ""
        return (
            f"the loss is {self.loss} at step {self.step}, on {places[0]}{others}; lower learning_rate="
            f"{learning_rate:g} (no model is saved)\nrows of the step: {', '.join(places)}"
        )


class LossCurve:
    """The mean loss per row over the steps, as at most POINTS points that cover equally many steps.

    When there are more, neighboring points are merged in pairs.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._steps_of_point = 1
        self._sums: list[float] = []
        self._rows: list[int] = []

    def add(self, loss: float, rows: int) -> None:
        """Add the next step: the sum of the losses of its rows, and their number."""
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
        """The state for a checkpoint: a copy, because it is written while training goes on."""
        return copy.deepcopy(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore `state()`."""
        vars(self).update(state)


class LossWatch:
    """Collects the loss of each step and adds it to the curve once it is read from the device.

    `rows_of_step` maps a step, counted from 1, to its row indices. On a GPU losses are read some steps later, so that
    the GPU never waits for the host.
    """

    def __init__(self, device: torch.device, rows_of_step: Callable[[int], np.ndarray], curve: LossCurve) -> None:
        self._on_host = device.type == "cpu"
        self._rows_of_step = rows_of_step
        self._curve = curve
        self._pending: list[tuple[int, torch.Tensor, int]] = []
        self._in_flight: _Losses | None = None

    def add(self, step: int, loss: torch.Tensor, rows: int) -> None:
        """Add a step's sum of losses over `rows` rows; checks pending losses now and then. Raises LossNotFinite."""
        self._pending.append((step, loss, rows))
        if self._on_host:
            self.check()
        elif len(self._pending) == STEPS_BETWEEN_CHECKS_ON_GPU:
            self._send()

    def check(self) -> None:
        """Check all pending losses; then the curve is complete. Raises LossNotFinite."""
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
    """Losses that are being copied from the device."""

    def __init__(self, pending: Sequence[tuple[int, torch.Tensor, int]]) -> None:
        self._steps, losses, self._rows = zip(*pending, strict=True)
        stacked = torch.stack(losses)
        self._arrived = torch.cuda.Event() if stacked.is_cuda else None
        self._losses = stacked.to("cpu", non_blocking=True)
        if self._arrived:
            self._arrived.record()

    def read(self) -> list[tuple[int, float, int]]:
        """Wait for the copy: (step, loss, rows) of each step."""
        if self._arrived:
            self._arrived.synchronize()
        return list(zip(self._steps, self._losses.tolist(), self._rows, strict=True))
