"""SageMaker's stop signal: SIGTERM, then 120 seconds, then SIGKILL."""

from __future__ import annotations

import signal
import sys
from types import FrameType

NOTHING_TO_SAVE = "Stopped before the first step: there is nothing to save."


class Stopped(Exception):
    """The job was stopped, and this process ends without an error."""


class StopSignal:
    """Records that SIGTERM arrived, so that training can stop between two steps.

    Until `listen` the signal ends the process at once, its default action: the quickest way out while there is nothing
    to save. hook.py reports that as a clean stop.
    """

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Call when there is something to save: from here on the signal only sets `requested`."""
        signal.signal(signal.SIGTERM, self._handle)

    def let_end(self) -> None:
        """Call when there is nothing to save again. Raises Stopped if the signal has come."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self.requested:
            raise Stopped(NOTHING_TO_SAVE)

    def ignore(self) -> None:
        """Call when everything is saved: from here on the signal is ignored."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def end_when_stopped() -> None:
    """Let SIGTERM end this process: without a handler the kernel ignores it for the first process of a container."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
