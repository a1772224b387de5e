"""The line a minute about what was served."""

from __future__ import annotations

from support.fake_clock import Clock
from text_classifier.serving.traffic import Traffic


def test_the_line_sums_up_the_time_since_the_last_one() -> None:
    clock = Clock()
    traffic = Traffic(clock.monotonic)
    assert traffic.line(0) is None
    for status, seconds in ((200, 0.010), (200, 0.020), (400, 0.001), (503, 0.5)):
        traffic.request(status, seconds)
    traffic.texts(20, 5)
    traffic.batch(14, 300)
    traffic.batch(16, 300)
    traffic.answered(12)
    traffic.answered(6)
    traffic.confidences(1.8, 2)
    clock.now += 60
    assert traffic.line(3) == (
        "served in 60 s: 4 requests, 18 texts, 10 tokens/s, p50 20 ms, p95 500 ms, 15.0 rows a batch, 3 waiting, "
        "1 4xx, 1 5xx, 25.0% truncated, mean confidence 0.900"
    )
    assert traffic.line(0) is None
