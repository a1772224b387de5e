"""How far the probabilities can be believed: reliability, and a temperature that mends it.

Source: Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import numpy as np

from text_classifier.contract.schema import CalibrationBin

BINS = 15

#: A temperature outside these says that something else is wrong.
COLDEST, HOTTEST = 0.05, 20.0


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Logarithms of softmax(logits / temperature), float64 [rows, classes]."""
    from scipy.special import log_softmax

    return log_softmax(logits.astype(np.float64) / temperature, axis=1)


def losses(logits: np.ndarray, classes: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Cross-entropy of each row, float64 [rows]; their mean is the log loss."""
    return -log_probabilities(logits, temperature)[np.arange(len(classes)), classes]


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature with the least log loss on these rows.

    1 when every row is recognized: the loss then falls without end as the temperature falls, and says nothing.
    """
    from scipy.optimize import minimize_scalar

    if np.all(logits.argmax(axis=1) == classes):
        return 1.0
    found = minimize_scalar(
        lambda power: losses(logits, classes, float(np.exp(power))).mean(),
        bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(np.exp(found.x))


def reliability(probabilities: np.ndarray, classes: np.ndarray) -> list[CalibrationBin]:
    """Rows by the probability of the predicted class, in bins of equal width: how many, mean probability, accuracy.

    Empty bins are left out. probabilities float64 [rows, classes].
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == classes
    bin_of = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    rows = np.bincount(bin_of, minlength=BINS)
    confidences, hits = (np.bincount(bin_of, weights=w, minlength=BINS) for w in (confidence, right.astype(np.float64)))
    return [
        {"rows": int(rows[i]), "confidence": float(confidences[i] / rows[i]), "accuracy": float(hits[i] / rows[i])}
        for i in np.flatnonzero(rows)
    ]


def calibration_error(bins: list[CalibrationBin]) -> float:
    """Expected calibration error: the mean gap between probability and accuracy over the rows of all bins."""
    total = sum(bin["rows"] for bin in bins)
    return sum(bin["rows"] * abs(bin["confidence"] - bin["accuracy"]) for bin in bins) / total
