"""Metrics of regression."""

from __future__ import annotations

import numpy as np


class Errors:
    """Predictions and targets, prepared so that a resample needs no sorting."""

    def __init__(self, predicted: np.ndarray, targets: np.ndarray) -> None:
        self._targets = targets.astype(np.float64)
        self._gaps = predicted.astype(np.float64) - self._targets
        self._places = [np.unique(values, return_inverse=True)[1] for values in (predicted, targets)]

    def metrics(self, times: np.ndarray | None = None) -> dict[str, float]:
        """The metrics of the rows, each counted `times` (int64 [rows], default 1).

        Tied values share their mean rank in Spearman's correlation. It is NaN if all predictions or all targets are
        equal; `r2` is NaN if all targets are.
        """
        weights = np.ones(len(self._gaps)) if times is None else times.astype(np.float64)
        counts = [np.bincount(places, weights=weights) for places in self._places]
        predicted_varies, targets_vary = (np.count_nonzero(of_value) > 1 for of_value in counts)
        ranks = tuple(_ranks(of_value)[places] for of_value, places in zip(counts, self._places, strict=True))
        mse = float(np.average(self._gaps**2, weights=weights))
        return {
            "mae": float(np.average(np.abs(self._gaps), weights=weights)),
            "mse": mse,
            "rmse": float(np.sqrt(mse)),
            "r2": 1 - mse / _covariance(self._targets, self._targets, weights) if targets_vary else np.nan,
            "spearman": _correlation(ranks[0], ranks[1], weights) if predicted_varies and targets_vary else np.nan,
        }


def _ranks(counts: np.ndarray) -> np.ndarray:
    """The rank of each distinct value in ascending order, from the number of rows that have it."""
    return np.cumsum(counts) - (counts - 1) / 2


def _correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    spread = _covariance(one, one, weights) * _covariance(other, other, weights)
    return _covariance(one, other, weights) / float(np.sqrt(spread))


def _covariance(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    gaps = one - np.average(one, weights=weights), other - np.average(other, weights=weights)
    return float(np.average(gaps[0] * gaps[1], weights=weights))
