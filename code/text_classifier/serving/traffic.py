"""What was served, as one line a minute: CloudWatch is paid by the byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Traffic:
    """Counts since the last line. Only `batch` is called by another thread, the model's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start()

    def _start(self) -> None:
        self._since = self._clock()
        self._seconds: list[float] = []
        self._client_errors = self._server_errors = 0
        self._texts = self._truncated = self._answered = 0
        self._batches = self._rows = self._tokens = 0
        self._confidence, self._confident = 0.0, 0

    def request(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._seconds.append(seconds)
        self._client_errors += 400 <= status < 500
        self._server_errors += status >= 500

    def texts(self, count: int, truncated: int) -> None:
        """Texts were tokenized."""
        self._texts += count
        self._truncated += truncated

    def answered(self, texts: int) -> None:
        """Texts were classified."""
        self._answered += texts

    def confidences(self, total: float, count: int) -> None:
        """Probabilities of the predicted classes, added up."""
        self._confidence += total
        self._confident += count

    def batch(self, rows: int, tokens: int) -> None:
        """A batch was computed; its rows are texts, or windows of texts."""
        self._batches += 1
        self._rows += rows
        self._tokens += tokens

    def line(self, waiting: int) -> str | None:
        """The line about the time since the last one; None without a request. `waiting` rows are in the queue."""
        if not self._seconds:
            return None
        passed = max(self._clock() - self._since, 1e-3)
        milliseconds = sorted(1e3 * seconds for seconds in self._seconds)
        parts = [
            f"served in {passed:.0f} s: {len(milliseconds)} requests",
            f"{self._answered} texts",
            f"{self._tokens / passed:.0f} tokens/s",
            f"p50 {_quantile(milliseconds, 0.5):.0f} ms",
            f"p95 {_quantile(milliseconds, 0.95):.0f} ms",
            f"{self._rows / max(self._batches, 1):.1f} rows a batch",
            f"{waiting} waiting",
            f"{self._client_errors} 4xx",
            f"{self._server_errors} 5xx",
            f"{self._truncated / max(self._texts, 1):.1%} truncated",
        ]
        if self._confident:
            parts.append(f"mean confidence {self._confidence / self._confident:.3f}")
        self._start()
        return ", ".join(parts)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
