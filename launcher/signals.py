"""Stop signals as exceptions, so that `finally` blocks clean up."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from launcher.errors import SIGNAL

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Ctrl-C or another stop signal.

    Not a KeyboardInterrupt: the SDK's telemetry decorator returns from its `finally`, which swallows every exception
    that is not an Exception.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = SIGNAL + number


class Aborted(KeyboardInterrupt):
    """Ctrl-C or another stop signal while boto3 runs.

    Not an Exception: boto3 takes any Exception inside a request for a broken connection and retries.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = SIGNAL + number


class StopSignals:
    """While this context is open, stop signals raise `error`; `received` is the last one."""

    def __init__(self, error: type[Interrupted] | type[Aborted] = Interrupted) -> None:
        self.received: int | None = None
        self._error = error
        self._is_held = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self._previous = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A context in which a stop signal waits: it raises at the end, so that what was begun is whole."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self.received is not None:
            raise self._error(self.received)

    def ignore(self) -> None:
        """Ignore stop signals from now on, for clean-up that must finish."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if self._is_held:
            return
        raise self._error(number)
