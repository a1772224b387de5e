"""A temperature is recommended only when it helps rows that it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from text_classifier.evaluation import calibration, temperature


def drawn(probabilities: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A class of each row, drawn from its probabilities."""
    return (probabilities.cumsum(axis=1) > random.random((len(probabilities), 1))).argmax(axis=1)


def overconfident(rows: int, factor: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits `factor` times too large, and classes."""
    logits = random.normal(size=(rows, 3)).astype(np.float32)
    return factor * logits, drawn(np.exp(calibration.log_probabilities(logits)), random)


def test_overconfident_logits_get_their_temperature() -> None:
    random = np.random.default_rng(1)
    found = temperature.judge(*overconfident(3_000, 4.0, random), random)
    assert found.recommended == found.fitted == pytest.approx(4, rel=0.1)
    judged = found.cross_fitted
    assert judged is not None and judged["rows"] == 3_000
    low, high = judged["log_loss_difference_interval"]
    assert low < judged["log_loss_difference"] < high < -0.1
    low, high = judged["error_difference_interval"]
    assert low < judged["error_at_temperature"] - judged["error"] < high < -0.1


def test_calibrated_logits_need_none() -> None:
    recommended = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        recommended.append(temperature.judge(*overconfident(100, 1.0, random), random).recommended)
    assert recommended.count(1.0) >= 18


def test_a_lower_log_loss_with_a_worse_calibration_error_is_not_recommended() -> None:
    """The predicted class is calibrated, and the rest of the probability is spread too evenly over the others."""
    random, rows, classes = np.random.default_rng(0), 2_000, 40
    order = random.permuted(np.tile(np.arange(classes), (rows, 1)), axis=1)
    top = random.uniform(0.3, 0.6, rows)

    def probabilities(near: float) -> np.ndarray:
        ranked = np.repeat((1 - top)[:, None] * (1 - near) / (classes - 4), classes, axis=1)
        ranked[:, 1:4] = (1 - top)[:, None] * near / 3
        ranked[:, 0] = top
        found = np.empty_like(ranked)
        np.put_along_axis(found, order, ranked, axis=1)
        return found

    truth = drawn(probabilities(0.95), random)
    found = temperature.judge(np.log(probabilities(0.25)).astype(np.float32), truth, random)
    judged = found.cross_fitted
    assert judged is not None and judged["log_loss_difference_interval"][1] < 0
    assert judged["error"] < 0.03 < 0.1 < judged["error_at_temperature"]
    assert found.fitted < 0.9 and found.recommended == 1.0


def test_few_rows_and_rows_that_are_all_right_recommend_nothing() -> None:
    random = np.random.default_rng(2)
    few = temperature.judge(*overconfident(temperature.FEWEST_ROWS - 1, 9.0, random), random)
    assert few.fitted > 2 and few.cross_fitted is None and few.recommended == 1.0
    right = temperature.judge(np.tile(np.eye(3, dtype=np.float32), (20, 1)), np.tile(np.arange(3), 20), random)
    assert right.recommended == right.fitted == 1.0


def test_of_many_rows_a_sample_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temperature, "MOST_ROWS", 300)
    random = np.random.default_rng(3)
    found = temperature.judge(*overconfident(2_000, 4.0, random), random)
    assert found.cross_fitted is not None and found.cross_fitted["rows"] == 300
