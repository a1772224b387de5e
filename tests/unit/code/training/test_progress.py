"""The progress lines, on a fake clock."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.tokenization.tokens import Tokens
from text_classifier.training import progress
from text_classifier.training.batches import Split, collate
from text_classifier.training.progress import Progress

LENGTHS = np.array([3, 5, 8])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds that pass only when a test advances them, for the process too."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(progress, "process_seconds", lambda: now.seconds - 1000.0)
    return now


def batch() -> Any:
    """Three rows of 16 tokens, padded to 24."""
    tokens = Tokens(np.ones(16, dtype=np.int32), np.concatenate([[0], LENGTHS.cumsum()]))
    layout = PaddedClassifier(torch.nn.Linear(1, 1), 0, Precision("fp32", torch.device("cpu")))
    return collate(layout, Split(tokens, np.zeros(3, dtype=np.int64)), np.arange(3), 6)


def train(clock: SimpleNamespace, steps: int = 40, total: int = 40, log_seconds: float = 10.0) -> dict[str, float]:
    """Steps of two seconds, on one rank of two."""
    shown = Progress(0, total, 10, log_seconds, is_shown=True)
    for step in range(steps):
        if step % 10 == 0:
            shown.start()
        clock.seconds += 2
        shown.step(batch(), batch().computed_tokens, LENGTHS, torch.tensor(1.5 * (step + 1)), 3 * (step + 1))
        if step % 10 == 9:
            shown.pause()
            clock.seconds += 7  # an evaluation
    return shown.close()


def test_lines_come_at_most_every_ten_seconds_and_show_the_progress(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    train(clock, steps=20)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # after 2, 12, 22 and 39 s
    assert re.fullmatch(
        r"step 6 of 40 \(epoch 1\), loss 0\.5000, 3 rows/s, 16 tokens/s, 68 s left, until [-\d]{10} \d\d:\d\d UTC",
        lines[1],
    )
    assert lines[3].startswith("step 16 of 40 (epoch 2), loss 0.5000, 3 rows/s, 16 tokens/s, 58 s left")


def test_the_throughput_counts_real_tokens_and_only_training(clock: SimpleNamespace) -> None:
    speed = train(clock)
    assert speed == {
        "rows": 240, "seconds": 80.0, "rows_per_second": 3.0, "tokens_per_second": 16.0,
        "padding": pytest.approx(1 - 16 / 24),
    }  # fmt: skip
    assert Progress(40, 40, 10, 10.0, is_shown=True).close() == {}


@pytest.mark.parametrize(("limit", "warnings"), [("60", 1), ("3600", 0), ("", 0), ("soon", 0)])
def test_a_job_that_will_be_stopped_warns_once(
    clock: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    warnings: int,
) -> None:
    monkeypatch.setenv("MAX_RUN_SECONDS", limit)
    train(clock)
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING")]
    assert found == warnings * [
        "WARNING: at this speed training ends 105 s after the start, and the job is stopped after 60 s; give it a "
        "longer max_run, fewer epochs or a faster instance"
    ]


def test_a_process_knows_its_age() -> None:
    assert 0 < progress.process_seconds() < 24 * 3600
    before = progress.process_seconds()
    assert before <= progress.process_seconds() < before + 5
