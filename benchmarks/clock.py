"""Time from a competitor's first step to the end of its last, and its peak memory."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from text_classifier.runtime.stop import StopSignal

_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


class Clock:
    """Runs from the moment the first batch exists to the end of the last step on the device. Only the first `start`
    counts."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self.cpu_seconds = 0.0  #: of all threads of this process
        self._started: tuple[float, float] | None = None

    def start(self) -> None:
        """The first batch exists."""
        if self._started is None:
            self._wait()
            self._started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """The last step was submitted to the device."""
        assert self._started is not None
        self._wait()
        self.seconds = time.perf_counter() - self._started[0]
        self.cpu_seconds = time.process_time() - self._started[1]

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class StepClock(StopSignal):
    """Times our training loop from outside. The loop reads `requested` before each step and once after the last one:
    the first read starts the clock, the last one stops the clock and the job, before its evaluation."""

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
    """Measure the peak from now on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        _RESET_PEAK.write_text("5")  # proc(5): resets the peak to the current resident set


def peak_memory(device: str) -> int:
    """Peak bytes: resident memory of the process, or on a GPU the memory allocated by torch."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
