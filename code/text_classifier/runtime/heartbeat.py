"""A line now and then while something takes long, so that nobody takes a job at work for one that hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 30.0


@contextmanager
def working(what: str, seconds: float = SECONDS) -> Iterator[None]:
    """A context during which the first process of the host prints a line every so many seconds: "still WHAT"."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    started, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(seconds):
            print(f"still {what}, {time.monotonic() - started:.0f} s so far", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
