"""Batches across requests: one queue, and one thread that owns the model.

No timer: when the model is free, the next batch is made of what waits. A lone request is not delayed, and under load
batches grow by themselves. Requests take turns row by row, so that a text behind a request of thousands waits for one
batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

import numpy as np

from text_classifier.contract.errors import JobError, scarce
from text_classifier.serving.faults import Faults

#: Token ids of a text.
Row = Sequence[int]

#: What a batch should take: short enough for the texts that come meanwhile, long enough for efficient matmuls.
BATCH_SECONDS = 0.03

#: Tokens of a batch, at least, however slow the machine is.
FEWEST_TOKENS = 256

#: A batch that runs longer makes the server unhealthy.
STUCK_SECONDS = 60.0

#: Texts in a row that failed, each alone, after which the server is unhealthy.
MOST_FAILURES = 10


class Model(Protocol):
    """A loaded model. Only the thread that loads it calls it."""

    is_padded: bool  #: whether a batch costs its longest row times its rows
    most_tokens: int  #: of a batch

    def logits(self, rows: Sequence[Row]) -> np.ndarray:
        """float32 [rows, outputs], in the order of the rows."""


AnyModel = TypeVar("AnyModel", bound=Model)


class Overloaded(Exception):
    """A request that would have to wait too long."""


class Failed(Exception):
    """A request with a text that the model failed on; the log has the reason."""


class Work:
    """The rows of one request: texts, or windows of texts. `future` gets their logits, float32 [rows, outputs], or
    raises Failed."""

    def __init__(self, count: int) -> None:
        """`count`: of the texts."""
        self.future: Future[np.ndarray] = Future()
        self.waiting: deque[tuple[int, Row]] = deque()
        self.waiting_tokens = 0
        self.is_queued = False
        self._logits: list[np.ndarray | None] = [None] * count
        self._added, self._answered = 0, 0

    def add(self, rows: Sequence[Row], texts: int) -> None:
        """More rows, in order: so many texts, or their windows."""
        self._logits.extend([None] * (len(rows) - texts))  # before the model's thread can have answered these rows
        self.waiting.extend(enumerate(rows, self._added))
        self.waiting_tokens += sum(map(len, rows))
        self._added += len(rows)

    def take(self) -> tuple[int, Row]:
        """The next row and its number."""
        number, row = self.waiting.popleft()
        self.waiting_tokens -= len(row)
        return number, row

    def answer(self, number: int, logits: np.ndarray) -> None:
        """The logits of a row; after the last one the future has them all."""
        self._logits[number] = logits
        self._answered += 1
        if self._answered == len(self._logits) and self.future.set_running_or_notify_cancel():
            self.future.set_result(np.stack([each for each in self._logits if each is not None]))

    def fail(self) -> None:
        """Give up the request."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(Failed())


class Batcher(Generic[AnyModel]):
    """The queue and its thread, which first loads the model.

    `load` makes the model. `done(rows, tokens)` is told of each batch.
    """

    def __init__(
        self,
        load: Callable[[], AnyModel],
        *,
        batch_tokens: int | None = None,
        max_wait_seconds: float = 30.0,
        done: Callable[[int, int], None] = lambda rows, tokens: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: Exception | None = None  #: what ended the thread
        self.model: AnyModel | None = None
        self.faults = Faults()
        self._load, self._done, self._clock = load, done, clock
        self._fixed_tokens, self._max_wait_seconds = batch_tokens, max_wait_seconds
        self._changed = threading.Condition()
        self._queue: deque[Work] = deque()
        self._tokens_per_second = 0.0
        self._most_tokens = FEWEST_TOKENS
        self._batch_started: float | None = None
        self._failures = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Load the model and serve it, in the thread."""
        self._thread.start()

    def wait_until_loaded(self) -> None:
        """Wait until the model is loaded, or cannot be."""
        with self._changed:
            self._changed.wait_for(lambda: self.model is not None or self.error is not None)

    def close(self) -> None:
        """End the thread after the batch that runs."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def problem(self) -> str | None:
        """Why no request can be answered now, as a sentence; None if it can."""
        if self.error is not None:
            return f"the model cannot be served ({self.error})"
        if self.model is None:
            return "the model is being loaded"
        if not self._thread.is_alive():
            return "the thread of the model has ended"
        started = self._batch_started
        if started is not None and self._clock() - started > STUCK_SECONDS:
            return f"a batch has been running for more than {STUCK_SECONDS:g} s"
        if self._failures >= MOST_FAILURES:
            return f"the last {self._failures} texts failed"
        return None

    def admit(self, count: int, tokens: int) -> Work:
        """A place in the queue for `count` texts of about `tokens` tokens together. Raises Overloaded.

        As requests take turns, a request waits for no more tokens of another than it has itself.
        """
        with self._changed:
            ahead = sum(min(work.waiting_tokens, tokens) for work in self._queue)
            if self._tokens_per_second and ahead > self._max_wait_seconds * self._tokens_per_second:
                raise Overloaded
        return Work(count)

    def add(self, work: Work, rows: Sequence[Row], texts: int | None = None) -> None:
        """Queue rows of an admitted request: its texts, or the windows of so many `texts`."""
        with self._changed:
            work.add(rows, len(rows) if texts is None else texts)
            if not work.is_queued and work.waiting:
                work.is_queued = True
                self._queue.append(work)
                self._changed.notify()

    @property
    def waiting_rows(self) -> int:
        """Rows in the queue."""
        with self._changed:
            return sum(len(work.waiting) for work in self._queue)

    def _run(self) -> None:
        try:
            model = self._load()
            self._warm_up(model)
            with self._changed:
                self.model = model
                self._changed.notify_all()
            while batch := self._wait():
                self._compute(model, batch)
        except Exception as error:
            known = scarce(error) or error
            with self._changed:
                self.error = known
                self._changed.notify_all()
            if not isinstance(known, JobError):
                self.faults.log(error)

    def _warm_up(self, model: AnyModel) -> None:
        """The first batches are slow; the third one is measured."""
        length = FEWEST_TOKENS // 4
        for rows in (1, 4, 4):
            started = self._clock()
            model.logits([[0] * length] * rows)
            self._measure(model, rows * length, self._clock() - started)

    def _wait(self) -> list[tuple[Work, int, Row]]:
        """The next batch; empty when the queue is closed."""
        with self._changed:
            while not self._closed:
                if batch := self._next():
                    return batch
                self._changed.wait()
        return []

    def _next(self) -> list[tuple[Work, int, Row]]:
        """A batch of the rows that wait, one of each request in turn. Requests that were given up are dropped."""
        assert self.model is not None
        batch: list[tuple[Work, int, Row]] = []
        tokens = longest = 0
        while self._queue:
            work = self._queue[0]
            if work.future.done():
                work.waiting.clear()
            if not work.waiting:
                work.is_queued = False
                self._queue.popleft()
                continue
            length = len(work.waiting[0][1])
            longest = max(longest, length)
            tokens = longest * (len(batch) + 1) if self.model.is_padded else tokens + length
            if batch and tokens > self._most_tokens:
                break
            batch.append((work, *work.take()))
            self._queue.rotate(-1)
        return batch

    def _compute(self, model: AnyModel, batch: list[tuple[Work, int, Row]]) -> None:
        """Answer the rows of a batch. One that fails is halved, until a single row fails its request."""
        self._batch_started = started = self._clock()
        rows = [row for _, _, row in batch]
        tokens = sum(map(len, rows))
        logits = self._logits(model, rows)
        self._batch_started = None
        if logits is None and len(batch) > 1:
            self._most_tokens = max(FEWEST_TOKENS, tokens // 2)
            middle = len(batch) // 2
            self._compute(model, batch[:middle])
            self._compute(model, batch[middle:])
            return
        if logits is None:
            self._failures += 1
            batch[0][0].fail()
            return
        self._failures = 0
        seconds = self._clock() - started
        self._measure(model, tokens, seconds)
        self._done(len(rows), tokens)
        for (work, number, _), each in zip(batch, logits, strict=True):
            work.answer(number, each)

    def _logits(self, model: AnyModel, rows: list[Row]) -> np.ndarray | None:
        """As Model.logits; None if it fails, which is logged."""
        try:
            return model.logits(rows)
        except Exception as error:
            self.faults.log(error)
            return None

    def _measure(self, model: AnyModel, tokens: int, seconds: float) -> None:
        """Renew the speed, a moving average, and with it the size of the next batches."""
        rate = tokens / max(seconds, 1e-6)
        # A small batch says nothing about the speed of a large one.
        if tokens < FEWEST_TOKENS and self._tokens_per_second:
            rate = max(rate, self._tokens_per_second)
        self._tokens_per_second += (0.3 if self._tokens_per_second else 1.0) * (rate - self._tokens_per_second)
        wanted = self._fixed_tokens or int(self._tokens_per_second * BATCH_SECONDS)
        self._most_tokens = min(max(wanted, 1 if self._fixed_tokens else FEWEST_TOKENS), model.most_tokens)
