"""One process per competitor for all rounds, so that competitors do not share memory or threads."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from benchmarks.competitors import COMPETITORS
from benchmarks.contest import Competitor, Result, Task
from benchmarks.corpus import Rows

T = TypeVar("T")

_competitor: Competitor


class Worker:
    """A separate process whose output goes to the file `log`."""

    def __init__(self, log: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_print_to, initargs=(log,))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a module's function in the process and wait. Returns or raises what the function does."""
        return self._pool.submit(function, *arguments).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def _print_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())


def prepare(name: str, task: Task, rows: Rows) -> tuple[str, dict[str, float]]:
    """Create this process's competitor and warm it up. Returns its setup, and the seconds of each configuration in its
    trial."""
    global _competitor
    _competitor = COMPETITORS[name](task)
    _competitor.prepare(rows)
    give_back_memory()
    return _competitor.setup, _competitor.tried


def run(rows: Rows) -> Result:
    """Train one round with this process's competitor."""
    result = _competitor.run(rows)
    give_back_memory()
    return result


def give_back_memory() -> None:
    """Return freed memory to the system: the C library would keep several GB per process at 512 tokens."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
