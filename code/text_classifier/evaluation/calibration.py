"""Calibration of the probabilities: reliability diagram, expected calibration error, temperature scaling.

Source: Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from text_classifier.contract.schema import CalibrationBin

BINS = 15

#: Logits of which there are float64 copies at a time.
AT_A_TIME = 1 << 22

#: Bounds of the temperature; beyond them something else is wrong.
COLDEST, HOTTEST = 0.05, 20.0


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """log(softmax(logits / temperature)), float64 [rows, classes]."""
    from scipy.special import log_softmax

    return log_softmax(logits.astype(np.float64) / temperature, axis=1)


def losses(logits: np.ndarray, classes: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Cross-entropy of each row, float64 [rows]; its mean is the log loss."""
    return _by_rows(
        logits,
        lambda rows: -log_probabilities(logits[rows], temperature)[np.arange(len(classes[rows])), classes[rows]],
    )


def confidences(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The probability of the predicted class of each row, float64 [rows]."""
    return _by_rows(logits, lambda rows: np.exp(log_probabilities(logits[rows], temperature)).max(axis=1))


def _by_rows(logits: np.ndarray, compute: Callable[[slice], np.ndarray]) -> np.ndarray:
    """`compute` over some rows at a time: a float64 copy of the logits of thousands of classes would not fit."""
    step = max(1, AT_A_TIME // logits.shape[1])
    parts = [compute(slice(start, start + step)) for start in range(0, len(logits), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature with the lowest log loss on these rows.

    1 when every prediction is right: the loss then has no minimum, as it keeps falling with the temperature.
    """
    from scipy.optimize import minimize_scalar

    if np.all(logits.argmax(axis=1) == classes):
        return 1.0
    minimum = minimize_scalar(
        lambda power: losses(logits, classes, float(np.exp(power))).mean(),
        bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(np.exp(minimum.x))


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of equal width of each probability, int64 [rows]."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def reliability(confidence: np.ndarray, is_correct: np.ndarray) -> list[CalibrationBin]:
    """Rows binned by the probability of the predicted class, in bins of equal width; empty bins are left out.

    confidence float64 [rows], is_correct bool [rows].
    """
    bin_of = bins_of(confidence)
    rows = np.bincount(bin_of, minlength=BINS)
    confidences, correct = (
        np.bincount(bin_of, weights=w, minlength=BINS) for w in (confidence, is_correct.astype(np.float64))
    )
    return [
        {"rows": int(rows[i]), "confidence": float(confidences[i] / rows[i]), "accuracy": float(correct[i] / rows[i])}
        for i in np.flatnonzero(rows)
    ]


def calibration_error(bins: list[CalibrationBin]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy, weighted by the rows of each bin."""
    total = sum(bin["rows"] for bin in bins)
    return sum(bin["rows"] * abs(bin["confidence"] - bin["accuracy"]) for bin in bins) / total
