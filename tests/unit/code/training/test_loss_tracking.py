from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from text_classifier.training import loss_tracking as losses
from text_classifier.training.loss_tracking import STEPS_BETWEEN_CHECKS_ON_GPU, LossCurve, LossNotFinite, LossWatch


def rows_of_step(step: int) -> np.ndarray:
    return np.array([10 * step, 10 * step + 1])


@pytest.mark.parametrize(("device", "noticed"), [("cpu", 3), ("cuda", 2 * STEPS_BETWEEN_CHECKS_ON_GPU)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_bad_step_is_named_with_its_rows(device: str, noticed: int, bad: float) -> None:
    watch = LossWatch(torch.device(device), rows_of_step, LossCurve())
    for step in range(1, noticed):
        watch.add(step, torch.tensor(bad if step >= 3 else 0.5), 2)
    with pytest.raises(LossNotFinite) as caught:
        watch.add(noticed, torch.tensor(bad), 2)
    assert (caught.value.step, caught.value.rows) == (3, [30, 31])
    sentence = caught.value.sentence(["a.tsv line 7", "a.tsv line 2"], 0.1).splitlines()[0]
    assert sentence == (
        f"the loss is {bad} at step 3, on a.tsv line 7 and 1 other rows; lower learning_rate=0.1 (no model is saved)"
    )


def test_the_rest_is_checked_at_the_end() -> None:
    watch = LossWatch(torch.device("cuda"), rows_of_step, LossCurve())
    watch.add(1, torch.tensor(float("nan")), 2)
    with pytest.raises(LossNotFinite):
        watch.check()
    watch.check()


def test_the_curve_is_complete_after_a_check_and_no_sooner() -> None:
    curve = LossCurve()
    watch = LossWatch(torch.device("cuda"), rows_of_step, curve)
    watch.add(1, torch.tensor(3.0), 2)
    assert curve.points() == {"steps": [], "losses": []}  # it is still on the device
    watch.check()
    assert curve.points() == {"steps": [1], "losses": [1.5]}


@pytest.mark.parametrize("steps", [1, 8, 9, 17, 100])
def test_the_curve_has_few_points_and_they_are_the_means(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "POINTS", 8)
    sums, rows = np.random.default_rng(1).uniform(1, 9, steps), np.arange(1, steps + 1) % 4 + 1
    curve = LossCurve()
    for loss, count in zip(sums.tolist(), rows.tolist(), strict=True):
        curve.add(loss, count)
    points = curve.points()
    assert min(steps, 4) <= len(points["steps"]) <= 8 and points["steps"][-1] == steps
    for start, end, mean in zip([0, *points["steps"]], points["steps"], points["losses"], strict=False):
        assert mean == pytest.approx(sums[start:end].sum() / rows[start:end].sum())


def test_a_restored_curve_continues_as_if_uninterrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "POINTS", 8)
    whole, parts = LossCurve(), LossCurve()
    for step in range(50):
        kept = parts.state()
        parts.add(7.0, 1)  # what comes after it is not in it
        parts = LossCurve()
        parts.restore(json.loads(json.dumps(kept)))
        for curve in (whole, parts):
            curve.add(1 / (step + 3), 3)
    assert parts.points() == whole.points()
