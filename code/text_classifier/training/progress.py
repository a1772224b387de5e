"""How far and how fast training is: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from text_classifier.contract import sagemaker
from text_classifier.training.batches import Batch

#: The first steps are slower than the others. Before so many no projection is worth a warning.
STEADY_STEPS = 10


class Progress:
    """Counts steps, rows and tokens. The loss is read from the device only when a line is due: no step waits for it.

    Rows are those of all ranks; tokens too, by rank 0's share of them. Time between `pause` and `start` does not count
    for the throughput, but it does for the time that is left.
    """

    def __init__(
        self, first_step: int, total_steps: int, steps_per_epoch: int, log_seconds: float, *, is_shown: bool
    ) -> None:
        self.first_step = self.steps = first_step
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.log_seconds = log_seconds
        self.is_shown = is_shown
        self.began = self.line_due = time.monotonic()
        self.rows = 0
        self.tokens = self.computed_tokens = 0.0
        self.seconds = 0.0  #: of training, up to the last pause
        self.since: float | None = None  #: the last start, when there was no pause since
        self.limit = sagemaker.max_run_seconds()
        # What hook.py starts writes to a log, even where local mode gives the container a terminal.
        is_terminal = sys.stderr.isatty() and "RANK" not in os.environ
        self.bar = tqdm(initial=first_step, total=total_steps, unit="step", disable=not (is_shown and is_terminal))

    def start(self) -> None:
        """Training goes on."""
        self.since = time.monotonic()

    def pause(self) -> None:
        """Something else begins, such as an evaluation. The device has done all steps."""
        self.seconds = self._training_seconds()
        self.since = None

    def step(self, batch: Batch, lengths: np.ndarray, loss_sum: torch.Tensor, rows_so_far: int) -> None:
        """Count one step. lengths: of all rows, in tokens; `loss_sum` over `rows_so_far` rows is the epoch's loss."""
        ranks = batch.rows_of_all_ranks / len(batch.rows)
        self.steps += 1
        self.rows += batch.rows_of_all_ranks
        self.tokens += ranks * int(lengths[batch.rows].sum())
        self.computed_tokens += ranks * batch.computed_tokens
        self.bar.update()
        now = time.monotonic()
        if not self.is_shown or now < self.line_due:
            return
        self.line_due = now + self.log_seconds
        loss = loss_sum.item() / rows_so_far
        seconds = self._training_seconds()
        speed = f"{self.rows / seconds:,.0f} rows/s, {self.tokens / seconds:,.0f} tokens/s"
        left = (now - self.began) / (self.steps - self.first_step) * (self.total_steps - self.steps)
        self.bar.set_postfix_str(f"loss {loss:.4f}, {speed}")
        if self.bar.disable:
            end = datetime.now(UTC) + timedelta(seconds=left)
            epoch = (self.steps - 1) // self.steps_per_epoch + 1
            print(
                f"step {self.steps} of {self.total_steps} (epoch {epoch}), loss {loss:.4f}, {speed}, "
                f"{left:.0f} s left, until {end:%H:%M:%S} UTC",
                flush=True,
            )
        self._warn(left)

    def close(self) -> dict[str, float]:
        """Give the terminal's line back. Returns the throughput: rows and real tokens a second, and the share of the
        computed tokens that were padding."""
        self.bar.close()
        seconds = self._training_seconds()
        if not self.rows:
            return {}
        return {
            "rows": self.rows,
            "seconds": seconds,
            "rows_per_second": self.rows / seconds,
            "tokens_per_second": self.tokens / seconds,
            "padding": 1 - self.tokens / self.computed_tokens,
        }

    def _training_seconds(self) -> float:
        return self.seconds + (time.monotonic() - self.since if self.since is not None else 0.0)

    def _warn(self, left: float) -> None:
        """Say once that the job will be stopped before it is done."""
        if self.limit is None or self.steps < self.first_step + STEADY_STEPS:
            return
        needed = process_seconds() + left
        if needed > self.limit:
            self.bar.write(
                f"WARNING: at this speed training ends {needed:,.0f} s after the start, and the job is stopped after "
                f"{self.limit:,} s; give it a longer max_run, fewer epochs or a faster instance",
                file=sys.stdout,
            )
            sys.stdout.flush()
            self.limit = None


def process_seconds() -> float:
    """Since this process began, the reading of the data included (proc(5): field 22 of stat, in clock ticks)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
