"""The HTTP server (uvicorn), with an orderly end: it goes on answering until no more requests come."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from text_classifier.serving.batching import Batcher
from text_classifier.serving.traffic import Traffic
from text_classifier.serving.web import Application, TextModel

#: After SIGTERM the server ends once it has been idle for this time. SageMaker stops sending when /ping fails.
IDLE_SECONDS = 2.0

#: It ends at the latest after the first of these, and responses that are being written have the second one.
#: SageMaker sends SIGKILL 30 s after SIGTERM.
DRAIN_SECONDS, GRACE_SECONDS = 24, 4

#: Load balancers keep connections for up to a minute, and the client should be the one to close them.
KEEP_ALIVE_SECONDS = 75

LOG_SECONDS = 60.0


class Server(uvicorn.Server):
    """Serves the application until a signal comes or the model cannot be loaded."""

    def __init__(
        self,
        application: Application,
        batcher: Batcher[TextModel],
        traffic: Traffic,
        ready: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        config = uvicorn.Config(
            application, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, log_level="critical",
            access_log=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )  # fmt: skip
        super().__init__(config)
        self._application, self._batcher, self._traffic, self._clock = application, batcher, traffic, clock
        self._ready: Callable[[], None] | None = ready
        self._stopped_at: float | None = None
        self._logged_at = clock()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM ends the server when it is idle, SIGINT at once."""
        if sig == signal.SIGINT or self._batcher.model is None:
            self.should_exit = self.force_exit = True
        elif self._stopped_at is None:
            self._application.is_draining = True
            self._stopped_at = self._clock()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. Returns whether to end."""
        if self._ready and self._batcher.model is not None:
            self._ready()
            self._ready = None
        if self._clock() - self._logged_at > LOG_SECONDS:
            self.log()
        return await super().on_tick(counter) or self._batcher.error is not None or self._is_drained()

    def log(self) -> None:
        """Print the line about what was served since the last one."""
        self._logged_at = self._clock()
        if line := self._traffic.line(self._batcher.waiting_rows):
            print(line, flush=True)

    def _is_drained(self) -> bool:
        if self._stopped_at is None:
            return False
        now = self._clock()
        is_idle = not self._application.running and now - self._application.last_request > IDLE_SECONDS
        return (is_idle and now - self._stopped_at > IDLE_SECONDS) or now - self._stopped_at > DRAIN_SECONDS
