"""Seconds from a competitor's first step to the end of its last, and the memory that it took."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from text_classifier.runtime.stop import StopSignal

_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


class Clock:
    """Started when the first batch is there, stopped when the device has done the last step. Later calls of `start`
    change nothing."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self.cpu_seconds = 0.0  #: of this process's threads together
        self._started: tuple[float, float] | None = None

    def start(self) -> None:
        """The first batch has been made."""
        if self._started is None:
            self._wait()
            self._started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """The last step was sent to the device."""
        assert self._started is not None
        self._wait()
        self.seconds = time.perf_counter() - self._started[0]
        self.cpu_seconds = time.process_time() - self._started[1]

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class StepClock(StopSignal):
    """Measures our own loop from outside: it asks before each step, and once more behind the last one, whether it was
    told to stop. The first time starts the clock; behind the last step the clock stops, and so does the job, before it
    evaluates."""

    def __init__(self, steps: int, clock: Clock) -> None:
        self._left = steps
        self._clock = clock

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether all steps are done."""
        self._clock.start()
        if self._left == 0:
            self._clock.stop()
            return True
        self._left -= 1
        return False


def forget_peak_memory(device: str) -> None:
    """Measure from here on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        _RESET_PEAK.write_text("5")  # proc(5): the peak becomes what is resident now


def peak_memory(device: str) -> int:
    """Bytes: the process's resident memory at its highest, or on a GPU what torch had allocated there."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
