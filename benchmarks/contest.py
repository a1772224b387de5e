"""The interface of a competitor: its task and its result.

Competitors differ only in what README.md describes: batch size, learning rate, schedule, weight decay, clipping,
dropout and the number of threads are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.clock import Clock, forget_peak_memory, peak_memory
from benchmarks.corpus import Rows

WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Task:
    """The settings that all competitors share."""

    model: Path  #: folder with weights, head and tokenizer
    tokens: int  #: maximum sequence length
    batch_size: int
    device: str  #: cpu or cuda
    epochs: int = 1
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """The measurements of one competitor in one round."""

    seconds: float
    cpu_seconds: float  #: of this process only
    tokens_computed: int | None  #: including padding; None if the competitor cannot tell
    peak_bytes: int


class Competitor(ABC):
    """Trains the rows of each round."""

    name = ""
    setup = ""  #: description for the report

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tried: dict[str, float] = {}  #: seconds of each configuration in the trial

    def prepare(self, rows: Rows) -> None:
        """Train two of these rows before the first round, so that one-time work in a process does not count."""
        two = rows.one_of_each_class()
        type(self)(replace(self.task, batch_size=len(two))).run(two)

    def run(self, rows: Rows) -> Result:
        """Train one round. The number of rows is a multiple of the batch size."""
        assert len(rows) % self.task.batch_size == 0
        clock = Clock(self.task.device)
        forget_peak_memory(self.task.device)
        computed = self.train(rows, clock)
        return Result(clock.seconds, clock.cpu_seconds, computed, peak_memory(self.task.device))

    @abstractmethod
    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Load the weights and train. Returns the number of tokens computed, or None if unknown."""
