"""Prints a line now and then during long work, so that a busy job is not taken for a hung one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SECONDS = 30.0


@dataclass
class Progress:
    """How far what takes long has come; empty for what does not say."""

    rows: int = 0
    done: int = 0  #: bytes
    total: int = 0  #: bytes

    def describe(self, seconds: float) -> str:
        """What was done in this time, and how much longer it takes."""
        if not self.total:
            return ""
        done = f": {self.rows:,} rows, {self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB"
        return f"{done}, about {seconds * (self.total / self.done - 1):.0f} s left" if self.done else done


#: That of this process.
progress = Progress()


@contextmanager
def working(what: str, seconds: float = SECONDS) -> Iterator[None]:
    """A context during which the first process of the host prints a line every so many seconds: "still WHAT"."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    started, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(seconds):
            taken = time.monotonic() - started
            print(f"still {what}, {taken:.0f} s so far{progress.describe(taken)}", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
