"""SageMaker's stop signal: SIGTERM, then 120 seconds, then SIGKILL."""

from __future__ import annotations

import signal
from types import FrameType


class Stopped(Exception):
    """The job was stopped at a point where there is nothing to save."""


class StopSignal:
    """Remembers that SIGTERM came, so that the work can end where it is whole.

    Until `listen` the signal ends the process at once, whatever it is doing, as the operating system has it: that is
    the quickest way out as long as there is nothing to save. hook.py reports such an end as a clean one.
    """

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """From here on the process has work to save."""
        signal.signal(signal.SIGTERM, self._handle)

    def ignore(self) -> None:
        """From here on all is saved, and the signal changes nothing."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
