"""What a competitor is given, what it must do, and what is noted of it.

What differs from one competitor to the next is what README.md says of it, and nothing else: batch size, learning rate,
schedule, decay, clipping, dropout and the number of threads are the same for all.
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
    """What all competitors are given."""

    model: Path  #: folder with weights, head and tokenizer
    tokens: int  #: of a row at most
    batch_size: int
    device: str  #: cpu or cuda
    epochs: int = 1
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """What one competitor did with one round's rows."""

    seconds: float
    cpu_seconds: float  #: of this process alone
    tokens_computed: int | None  #: padding included; None where the competitor does not tell
    peak_bytes: int


class Competitor(ABC):
    """Trains rounds of rows."""

    name = ""
    setup = ""  #: in words

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tried: dict[str, float] = {}  #: seconds of each set-up that was tried

    def prepare(self, rows: Rows) -> None:
        """Train two of these rows before any round, so that what happens once in a process does not count."""
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
        """Load the weights, train, return the number of tokens computed; None where nobody can tell."""
