"""Stop signals as exceptions, so that what was begun is also tidied up."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Ctrl-C or another stop signal.

    Not a KeyboardInterrupt: the SDK's telemetry decorator returns from its `finally`, which swallows whatever
    is not an Exception.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Aborted(KeyboardInterrupt):
    """The same around boto3, which takes any Exception inside a request for a broken connection, and tries again."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopSignals:
    """While this context is open, stop signals raise `error`; `received` remembers the last one."""

    def __init__(self, error: type[Interrupted] | type[Aborted] = Interrupted) -> None:
        self.received: int | None = None
        self._error = error
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self._previous = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From here on nothing interrupts: used while tidying up."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        raise self._error(number)
