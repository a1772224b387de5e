"""task=regression: one number per row, such as a star rating. Targets are these numbers, float32 [rows].

The model's only output is the predicted number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.evaluation import intervals
from text_classifier.evaluation.intervals import Interval
from text_classifier.evaluation.regression import Errors
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import Numbers
from text_classifier.tasks.base import Intervals, Task, Values

#: Strata of the split: ranges of numbers with about equally many rows each.
STRATA = 10

#: Outside these standard deviations the labels are far from the outputs of a new head, and training takes long.
USUAL_DEVIATION = 0.1, 10.0


def exact(value: Any) -> str:
    """The number with the fewest digits that is read as this float32."""
    return repr(float(str(np.float32(value)))).removesuffix(".0")


class Regression(Task):
    """One number per row, by mean squared error."""

    problem_type = "regression"
    headline = "mae"
    sliced = ("mae", "rmse")
    constant_baseline = "mean of the training labels"
    tfidf_baseline = "TF-IDF and ridge regression"

    def reader(self, label_map: LabelMap | None, settings: Settings) -> Numbers:
        return Numbers()

    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        if np.all(targets == targets[0]):
            raise DataError(
                f"all training rows have the label {exact(targets[0])}; there is nothing to learn from them"
            )

    def outputs(self, classes: Sequence[str]) -> str:
        return "one number per text"

    def unmeasurable(self, targets: np.ndarray) -> Mapping[str, str]:
        return {"spearman": "all of them have the same label"} if np.all(targets == targets[0]) else {}

    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        """By deciles; frequent numbers make some of them coincide."""
        edges = np.unique(np.quantile(targets, np.linspace(0, 1, STRATA + 1)[1:-1], method="higher"))
        return np.searchsorted(edges, targets, side="left")

    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        low, median, high = np.quantile(targets, [0, 0.5, 1], method="lower")
        labels = {"lowest": low, "median": median, "highest": high}
        of_all = {"mean": targets.mean(), "deviation": targets.std()}
        return {
            "labels": {name: float(exact(value)) for name, value in labels.items()}
            | {name: float(f"{value:.6g}") for name, value in of_all.items()}
        }

    def table(self, splits: Mapping[str, Any]) -> list[str]:
        return [
            f"labels of {name}: {', '.join(f'{word} {exact(value)}' for word, value in of['labels'].items())}"
            for name, of in splits.items()
        ]

    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        spread = float(splits["train"].std())
        if USUAL_DEVIATION[0] <= spread <= USUAL_DEVIATION[1]:
            return []
        return [f"the labels have a standard deviation of {spread:.3g}; rescale them to a standard deviation near 1"]

    def first_bias(self, targets: np.ndarray) -> float:
        return float(targets.mean(dtype=np.float64))

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return logits[:, 0]

    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        values = Errors(self.predict(logits), targets).metrics()
        del values["r2"]
        return {"loss": values["mse"], **values}

    def score(
        self, predicted: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        errors = Errors(predicted, targets)
        rows = len(targets)
        drawn = [
            errors.metrics(np.bincount(random.integers(0, rows, rows), minlength=rows))
            for _ in range(intervals.resamples(rows))
        ]
        values = errors.metrics()
        return values, {name: intervals.of_resamples(np.array([one[name] for one in drawn])) for name in values}

    def difference(
        self, predicted: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        gaps = np.abs(predicted.astype(np.float64) - targets) - np.abs(other.astype(np.float64) - targets)
        rows = len(gaps)
        drawn = [gaps[random.integers(0, rows, rows)].mean() for _ in range(intervals.resamples(rows))]
        return float(gaps.mean()), intervals.of_resamples(np.array(drawn))

    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        return np.full(rows, training.mean(dtype=np.float64))

    def fit(self, features: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        from sklearn.linear_model import Ridge

        # Centered by hand: with fit_intercept the sparse solver takes far longer.
        mean = targets.mean(dtype=np.float64)
        fitted = Ridge(alpha=1.0, fit_intercept=False, solver="lsqr").fit(features, targets - mean)
        return lambda others: mean + fitted.predict(others)
