"""Threads for what would hold up the event loop. One that takes too long is given up: nothing can end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from text_classifier.runtime.cpus import usable_cpus

T = TypeVar("T")


class Busy(Exception):
    """No thread was free in time."""


class Threads:
    """As many as the host has CPUs."""

    def __init__(self) -> None:
        self._count = max(2, usable_cpus())
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="request")
        self._given_up: set[Future[Any]] = set()  #: what threads still work on

    @property
    def are_lost(self) -> bool:
        """Whether each thread works on what was given up."""
        return len(self._given_up) >= self._count

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def run_within(self, seconds: float, function: Callable[..., T], *arguments: Any) -> T:
        """The same. Raises TimeoutError if the function takes too long, and Busy if no thread has begun with it."""
        work = self._pool.submit(function, *arguments)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            if not work.running():
                raise Busy from None
            self._given_up.add(work)
            work.add_done_callback(self._given_up.discard)
            raise
