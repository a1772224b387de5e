"""How far training is: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import os
import sys
import time

import torch
from tqdm import tqdm


class Progress:
    """Counts steps and rows. The loss is read from the device only when a line is due, so that no step waits for it."""

    def __init__(self, first_step: int, total_steps: int, log_seconds: float, *, is_shown: bool) -> None:
        self.first_step = self.steps = first_step
        self.total_steps = total_steps
        self.log_seconds = log_seconds
        self.is_shown = is_shown
        self.started = self.line_due = time.monotonic()
        self.rows = 0
        # What hook.py starts writes to a log, even where local mode gives the container a terminal.
        is_terminal = sys.stderr.isatty() and "RANK" not in os.environ
        self.bar = tqdm(initial=first_step, total=total_steps, unit="step", disable=not (is_shown and is_terminal))

    def step(self, rows: int, loss_sum: torch.Tensor, rows_so_far: int) -> None:
        """Count one step of `rows` rows; `loss_sum` over `rows_so_far` rows is the epoch's loss until now."""
        self.steps += 1
        self.rows += rows
        self.bar.update()
        now = time.monotonic()
        if not self.is_shown or now < self.line_due:
            return
        self.line_due = now + self.log_seconds
        loss = loss_sum.item() / rows_so_far
        self.bar.set_postfix(loss=f"{loss:.4f}")
        if self.bar.disable:
            rate = self.rows / (now - self.started)
            left = (now - self.started) / (self.steps - self.first_step) * (self.total_steps - self.steps)
            print(
                f"step {self.steps} of {self.total_steps}, loss {loss:.4f}, {rate:.0f} rows/s, {left:.0f} s left",
                flush=True,
            )

    def close(self) -> None:
        """Give the terminal's line back."""
        self.bar.close()
