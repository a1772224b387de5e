"""task=regression: each row has a number, such as its stars. Targets are these numbers, float32 [rows].

The model has one output, which is the number itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import intervals
from assessment import by_length
from failures import DataError
from fields import BadRow, string
from hyperparameters import Settings
from intervals import Interval
from labels import REMEMBERED, LabelMap, normalise, number
from task import Intervals, Task, Values

if TYPE_CHECKING:
    import torch

    from evaluation import Evaluated

#: What the one output is called.
OUTPUT = "value"

#: Squares of larger numbers have no place in fp32.
LARGEST = 1e15

#: Strata of the split: so many ranges of numbers, of about as many rows each.
STRATA = 10

#: Numbers spread less or more than this are far from what a new head gives, and take long to reach.
USUAL_SPREAD = 0.1, 10.0


class Numbers:
    """Reads labels that are numbers; the code of one is the number itself."""

    typecode = "d"
    known = ""

    def __init__(self) -> None:
        self.codes: dict[str, float] = {}

    def read(self, value: Any, column: str) -> float:
        """The number. Raises BadRow."""
        label = string(value, column)
        found = number(normalise(label))
        if found is None or abs(found) > LARGEST:
            raise BadRow(
                f"has the label {label!r}, which is no number of at most {LARGEST:g}",
                "write the labels as numbers with a point (4.5), or set task=single_label",
            )
        if isinstance(value, str) and len(self.codes) < REMEMBERED:
            self.codes[value] = found
        return found

    def targets(self, codes: np.ndarray) -> tuple[LabelMap, np.ndarray]:
        """The name of the output, and the number of each row, float32 [rows]."""
        return LabelMap((OUTPUT,), {}), codes.astype(np.float32)


class Regression(Task):
    """A number a row, by mean squared error."""

    problem_type = "regression"
    headline = "mae"
    sliced = ("mae", "rmse")
    most_frequent = "mean of the training labels"
    words = "TF-IDF and ridge regression"

    def reader(self, label_map: LabelMap | None, settings: Settings) -> Numbers:
        return Numbers()

    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        if np.all(targets == targets[0]):
            raise DataError(f"all training rows have the label {targets[0]:g}; there is nothing to learn from them")

    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        """By deciles, of which numbers that come up often make fewer."""
        edges = np.unique(np.quantile(targets, np.linspace(0, 1, STRATA + 1)[1:-1], method="higher"))
        return np.searchsorted(edges, targets, side="left")

    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        low, median, high = np.quantile(targets, [0, 0.5, 1], method="lower")
        values = {"lowest": low, "median": median, "highest": high, "mean": targets.mean(), "deviation": targets.std()}
        return {"labels": {name: float(f"{value:.6g}") for name, value in values.items()}}

    def table(self, splits: Mapping[str, Any]) -> list[str]:
        return [
            f"labels of {name}: {', '.join(f'{word} {value:g}' for word, value in of['labels'].items())}"
            for name, of in splits.items()
        ]

    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        spread = float(splits["train"].std())
        if USUAL_SPREAD[0] <= spread <= USUAL_SPREAD[1]:
            return []
        return [
            f"the labels have a standard deviation of {spread:.3g}; numbers that spread by about 1 are learnt best, so "
            "give them in other units"
        ]

    def first_bias(self, targets: np.ndarray) -> float:
        return float(targets.mean(dtype=np.float64))

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.mse_loss(logits[:, 0], targets, reduction="none")

    def said(self, logits: np.ndarray) -> np.ndarray:
        return logits[:, 0]

    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        values = _Errors(self.said(logits), targets).metrics()
        del values["r2"]
        return {"loss": values["mse"], **values}

    def score(
        self, said: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        errors = _Errors(said, targets)
        rows = len(targets)
        drawn = [
            errors.metrics(np.bincount(random.integers(0, rows, rows), minlength=rows))
            for _ in range(intervals.resamples(rows))
        ]
        values = errors.metrics()
        return values, {name: intervals.of_resamples(np.array([one[name] for one in drawn])) for name in values}

    def difference(
        self, said: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        gaps = np.abs(said.astype(np.float64) - targets) - np.abs(other.astype(np.float64) - targets)
        rows = len(gaps)
        drawn = [gaps[random.integers(0, rows, rows)].mean() for _ in range(intervals.resamples(rows))]
        return float(gaps.mean()), intervals.of_resamples(np.array(drawn))

    def assess(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        lengths: np.ndarray,
        temperature: float | None,
        seed: int,
    ) -> dict[str, Any]:
        random = np.random.default_rng((seed, 3))
        said = self.said(logits)
        values, found = self.score(said, targets, 1, random)
        slices = by_length(lengths, lambda rows: self.score(said[rows], targets[rows], 1, random), self.sliced)
        return {
            "rows": len(targets),
            **values,
            "intervals": {name: list(interval) for name, interval in found.items()},
            "by_length": slices,
        }

    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        return np.full(rows, training.mean(dtype=np.float64))

    def fit(self, counts: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        from sklearn.linear_model import Ridge

        # Fitted through the mean: with an intercept of its own the sparse solver would take far longer.
        mean = targets.mean(dtype=np.float64)
        fitted = Ridge(alpha=1.0, fit_intercept=False, solver="lsqr").fit(counts, targets - mean)
        return lambda others: mean + fitted.predict(others)

    def title(self, classes: Sequence[str]) -> str:
        return "Number from a text"

    def header(self, classes: Sequence[str]) -> list[str]:
        return ["predicted"]

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> list[list[str]]:
        return [[self.label(value, classes)] for value in self.said(logits)]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return format(target, ".6g")

    def examples(self, logits: np.ndarray, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
        return [
            (
                "Largest errors",
                "Validation texts, the largest error first. Look here for wrong labels in the data, too.",
                np.argsort(-np.abs(self.said(logits) - targets), kind="stable"),
            )
        ]

    def sureness(self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
        return "Error", [f"{value:+.2f}" for value in self.said(logits) - targets]

    def plots(self, evaluated: Evaluated, metrics: Mapping[str, Any]) -> dict[str, str]:
        import plots

        said, truth = self.said(evaluated.logits["validation"]), evaluated.splits["validation"].targets
        names = {"mae": "mean error (MAE)", "rmse": "root mean square error (RMSE)"}
        return {
            "quality": plots.curves(metrics["epochs"], names, "Validation", metrics["best_epoch"]),
            "agreement": plots.agreement(said, truth),
        }


class _Errors:
    """Answers beside the truth, prepared so that a resample costs no sorting."""

    def __init__(self, said: np.ndarray, targets: np.ndarray) -> None:
        self._targets = targets.astype(np.float64)
        self._gaps = said.astype(np.float64) - self._targets
        self._places = [np.unique(values, return_inverse=True)[1] for values in (said, targets)]

    def metrics(self, times: np.ndarray | None = None) -> Values:
        """The metrics of the rows, each counted `times` (int64 [rows], default 1).

        Spearman's correlation is that of the ranks, where equal values share the mean of theirs; it is NaN where all
        answers or all targets are equal, and so is `r2`, the share of the targets' variance that is explained.
        """
        weights = np.ones(len(self._gaps)) if times is None else times.astype(np.float64)
        counts = [np.bincount(places, weights=weights) for places in self._places]
        said_varies, targets_vary = (np.count_nonzero(of_value) > 1 for of_value in counts)
        ranks = tuple(_ranks(of_value)[places] for of_value, places in zip(counts, self._places, strict=True))
        mse = float(np.average(self._gaps**2, weights=weights))
        return {
            "mae": float(np.average(np.abs(self._gaps), weights=weights)),
            "mse": mse,
            "rmse": float(np.sqrt(mse)),
            "r2": 1 - mse / _covariance(self._targets, self._targets, weights) if targets_vary else np.nan,
            "spearman": _correlation(ranks[0], ranks[1], weights) if said_varies and targets_vary else np.nan,
        }


def _ranks(counts: np.ndarray) -> np.ndarray:
    """The rank of each distinct value in rising order, from how many rows have it."""
    return np.cumsum(counts) - (counts - 1) / 2


def _correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    spread = _covariance(one, one, weights) * _covariance(other, other, weights)
    return _covariance(one, other, weights) / float(np.sqrt(spread))


def _covariance(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    gaps = one - np.average(one, weights=weights), other - np.average(other, weights=weights)
    return float(np.average(gaps[0] * gaps[1], weights=weights))
