"""Several processes that share one listening socket, each with a copy of the model: one per GPU, or per some cores.

One process uses several cores for the matmuls of a batch alone, and one GPU.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

from text_classifier.runtime.cpus import thread_variables, usable_cpus

#: Matmuls of a batch gain little from more cores than these.
CORES_PER_WORKER = 8


def usual_count(gpus: int) -> int:
    """The number of processes if none is set."""
    return gpus or max(1, usable_cpus() // CORES_PER_WORKER)


class Workers:
    """Starts the processes, forwards signals to them, and ends all when one ends.

    The first one listens while it loads the model, and answers 503 until then. The others are started once it is ready,
    and listen when they are: no request meets one that is not.
    """

    def __init__(self, script: str, listener: int, count: int, gpus: int) -> None:
        self._command = [sys.executable, script]
        self._listener, self._count, self._gpus = listener, count, gpus
        self._running: list[subprocess.Popen[bytes]] = []
        self._signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)

    def run(self) -> int:
        """Serve until a signal comes or a process ends. Returns the exit code, 0 after a signal if all stopped well."""
        ready, says_ready = os.pipe()
        self._start(says_ready)
        os.close(says_ready)
        while self._signal is None and self._all_run():
            is_waiting = len(self._running) < self._count
            # A process that ends closes the pipe, too, but writes nothing.
            if is_waiting and select.select([ready], [], [], 0)[0] and os.read(ready, 1):
                while len(self._running) < self._count:
                    self._start()
            time.sleep(0.05)
        is_stopped = self._signal is not None
        self._forward(self._signal or signal.SIGTERM)
        codes = [process.wait() for process in self._running]
        return 0 if is_stopped and not any(codes) else 1

    def _start(self, says_ready: int | None = None) -> None:
        """Start the next process, with the socket and the descriptor to write to once it is ready."""
        descriptors = [self._listener, *([] if says_ready is None else [says_ready])]
        variables = thread_variables(self._count) | os.environ | self._gpu(len(self._running))
        # In a process group of its own, so that Ctrl-C reaches it only through `_forward`. It unblocks SIGTERM itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        process = subprocess.Popen(
            [*self._command, *map(str, descriptors)], env=variables, pass_fds=descriptors, process_group=0
        )
        self._running.append(process)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _gpu(self, number: int) -> dict[str, str]:
        """The variable that gives a process its GPU."""
        if not self._gpus:
            return {}
        names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self._gpus)))
        return {"CUDA_VISIBLE_DEVICES": names.split(",")[number % self._gpus].strip()}

    def _all_run(self) -> bool:
        return all(process.poll() is None for process in self._running)

    def _forward(self, number: int, frame: FrameType | None = None) -> None:
        """Send a signal to all processes."""
        self._signal = self._signal or number
        for process in self._running:
            process.send_signal(number)  # does nothing once the process has ended
