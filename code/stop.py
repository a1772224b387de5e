"""SageMaker's stop signal: SIGTERM, then 120 seconds, then SIGKILL.

Imports nothing heavy, because it must be in place before anything heavy is imported.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


class StopSignal:
    """Remembers that SIGTERM came. Until there is work worth saving, the process ends at once with exit code 0."""

    def __init__(self) -> None:
        self.requested = False
        self.has_work = False
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self.has_work:
            # Not sys.exit: the exception could be swallowed by whatever import it lands in.
            print("Stopped before the first step: there is nothing to save.", flush=True)
            sys.stderr.flush()
            os._exit(0)
