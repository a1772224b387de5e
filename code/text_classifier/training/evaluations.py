"""When a job evaluates, which evaluation is the best, and when there is nothing more to gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from text_classifier.contract.metric_names import is_better

#: The metrics of an evaluation.
Values = Mapping[str, float]


@dataclass(frozen=True)
class EvaluationPlan:
    """The steps after which a job evaluates, as evenly as possible in an epoch. Evaluations are counted from 1."""

    steps_per_epoch: int
    evaluations_per_epoch: int  #: at most one after each step

    @classmethod
    def of(cls, steps_per_epoch: int, evaluations_per_epoch: int) -> EvaluationPlan:
        """A plan with as many evaluations, or with one after each step if there are fewer steps."""
        return cls(steps_per_epoch, min(evaluations_per_epoch, steps_per_epoch))

    def step_of(self, evaluation: int) -> int:
        """The last step before an evaluation; 0 for evaluation 0."""
        return evaluation * self.steps_per_epoch // self.evaluations_per_epoch

    def epoch_of(self, evaluation: int) -> int:
        """The epoch that an evaluation is in or ends."""
        return math.ceil(evaluation / self.evaluations_per_epoch)


def is_best(values: Values, best: Values | None, metric: str) -> bool:
    """Whether an evaluation is better than the best one so far; when the metric is equal, by its validation loss."""
    if best is None:
        return True
    value, other = values.get(metric, math.nan), best.get(metric, math.nan)
    if value == other or (math.isnan(value) and math.isnan(other)):
        return values["validation_loss"] < best["validation_loss"]
    return is_better(metric, value, other)


def without_improvement(evaluations: Sequence[Values], metric: str, min_delta: float) -> int:
    """Evaluations since the metric last improved by more than `min_delta`; the first one is an improvement."""
    last, best = 0, math.nan
    for number, values in enumerate(evaluations, start=1):
        value = values.get(metric, math.nan)
        if number == 1 or (is_better(metric, value, best) and not abs(value - best) <= min_delta):
            last, best = number, value
    return len(evaluations) - last
