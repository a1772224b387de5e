"""Progress and throughput of training: a bar on a terminal, periodic lines in a log."""

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

#: The first steps are slower than the others: no warning is based on fewer steps than this.
STEADY_STEPS = 10


class Progress:
    """Counts steps, rows and tokens. The loss is read from the device only when a line is due.

    Rows and tokens are of all ranks; tokens are extrapolated from this rank's. Time between `pause` and `start` counts
    for the time left, but not for the throughput.
    """

    def __init__(
        self,
        first_step: int,
        total_steps: int,
        steps_per_epoch: int,
        log_seconds: float,
        *,
        texts_per_row: float = 1.0,
        is_shown: bool,
    ) -> None:
        """`texts_per_row`: of a batch, on average; less than 1 with windows of texts."""
        self.first_step = self.steps = first_step
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.log_seconds = log_seconds
        self.texts_per_row = texts_per_row
        self.is_shown = is_shown
        self.began = self.line_due = time.monotonic()
        self.rows = 0.0  #: texts
        self.tokens = self.computed_tokens = 0.0
        self.seconds = 0.0  #: of training, before the last pause
        self.since: float | None = None  #: the last start; None while paused
        self.limit = sagemaker.max_run_seconds()
        # A process started by hook.py writes to a log, even if local mode gives the container a terminal.
        is_terminal = sys.stderr.isatty() and "RANK" not in os.environ
        self.bar = tqdm(initial=first_step, total=total_steps, unit="step", disable=not (is_shown and is_terminal))

    def start(self) -> None:
        """Training starts or continues."""
        self.since = time.monotonic()

    def pause(self) -> None:
        """Training pauses, for an evaluation for example. The device must have finished all steps."""
        self.seconds = self._training_seconds()
        self.since = None

    def step(
        self, batch: Batch, computed_tokens: int, lengths: np.ndarray, loss_sum: torch.Tensor, rows_so_far: int
    ) -> None:
        """Count one step. lengths: tokens of all rows of the split; the shown loss is loss_sum / rows_so_far."""
        ranks = batch.rows_of_all_ranks / len(batch.rows)
        self.steps += 1
        self.rows += self.texts_per_row * batch.rows_of_all_ranks
        self.tokens += ranks * int(lengths[batch.rows].sum())
        self.computed_tokens += ranks * computed_tokens
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
                f"{left:.0f} s left, until {end:%Y-%m-%d %H:%M} UTC",
                flush=True,
            )
        self._warn(left)

    def close(self) -> dict[str, float]:
        """Close the bar. Returns the throughput: rows and real tokens per second, and the share of padding in the
        computed tokens."""
        self.bar.close()
        seconds = self._training_seconds()
        if not self.rows:
            return {}
        return {
            "rows": round(self.rows),
            "seconds": seconds,
            "rows_per_second": self.rows / seconds,
            "tokens_per_second": self.tokens / seconds,
            "padding": 1 - self.tokens / self.computed_tokens,
        }

    def _training_seconds(self) -> float:
        return self.seconds + (time.monotonic() - self.since if self.since is not None else 0.0)

    def _warn(self, left: float) -> None:
        """Warn once if the job will be stopped before training ends."""
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
    """Seconds since this process started (proc(5): field 22 of stat, in clock ticks)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
