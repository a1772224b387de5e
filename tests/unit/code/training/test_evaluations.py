from __future__ import annotations

import math
from itertools import pairwise

import pytest

from text_classifier.training.evaluations import EvaluationPlan, is_best, without_improvement


@pytest.mark.parametrize("steps", [1, 3, 7, 100])
@pytest.mark.parametrize("per_epoch", [1, 2, 3, 8, 1000])
def test_evaluations_are_even_and_end_each_epoch(steps: int, per_epoch: int) -> None:
    plan = EvaluationPlan.of(steps, per_epoch)
    count = plan.evaluations_per_epoch
    assert count == min(steps, per_epoch)
    ends = [plan.step_of(number) for number in range(3 * count + 1)]
    gaps = [end - start for start, end in pairwise(ends)]
    assert ends[0] == 0 and ends[count::count] == [steps, 2 * steps, 3 * steps]
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1
    for number in range(1, 3 * count + 1):
        epoch = plan.epoch_of(number)
        assert (epoch - 1) * steps < ends[number] <= epoch * steps


@pytest.mark.parametrize(
    ("values", "best", "expected"),
    [
        ((0.9, 0.5), None, True),
        ((0.9, 0.5), (0.8, 0.1), True),
        ((0.8, 0.1), (0.9, 0.5), False),
        ((0.9, 0.4), (0.9, 0.5), True),
        ((0.9, 0.5), (0.9, 0.5), False),
        ((0.9, 0.6), (0.9, 0.5), False),
        ((math.nan, 0.4), (0.1, 0.5), False),
        ((0.1, 0.6), (math.nan, 0.5), True),
        ((math.nan, 0.4), (math.nan, 0.5), True),
    ],
)
def test_the_validation_loss_decides_between_equal_metrics(
    values: tuple[float, float], best: tuple[float, float] | None, expected: bool
) -> None:
    def named(pair: tuple[float, float]) -> dict[str, float]:
        return {"accuracy": pair[0], "validation_loss": pair[1]}

    assert is_best(named(values), None if best is None else named(best), "accuracy") is expected


@pytest.mark.parametrize(
    ("metric", "values", "min_delta", "expected"),
    [
        ("accuracy", [], 0, 0),
        ("accuracy", [0.5], 0, 0),
        ("accuracy", [0.5, 0.5, 0.5], 0, 2),
        ("accuracy", [0.5, 0.6, 0.55], 0, 1),
        ("accuracy", [0.5, 0.6, 0.55, 0.61], 0, 0),
        ("accuracy", [0.5, 0.52, 0.54, 0.56], 0.03, 1),  # 0.54 is more than 0.03 better than 0.5, 0.56 than 0.54 is not
        ("accuracy", [0.5, 0.75], 0.25, 1),  # not by more
        ("accuracy", [math.nan, math.nan, 0.1, math.nan], 0.5, 1),
        ("accuracy", [math.nan, math.nan], 0, 1),
        ("mae", [0.5, 0.6, 0.4, 0.4], 0, 1),
        ("mae", [0.5, 0.45, 0.41], 0.1, 2),
    ],
)
def test_evaluations_without_improvement(metric: str, values: list[float], min_delta: float, expected: int) -> None:
    assert without_improvement([{metric: value} for value in values], metric, min_delta) == expected
