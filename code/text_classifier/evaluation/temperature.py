"""Whether a temperature helps, judged by cross-fitting: each row by a temperature that was fitted without it.

The temperature with the lowest log loss is not always worth using. On the rows that it was fitted on it always looks
better, and the log loss counts the probabilities of all classes, while people read that of the predicted one: with many
classes the first can improve and the second get worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from text_classifier.contract.schema import CrossFit
from text_classifier.evaluation import calibration, intervals

FOLDS = 5

#: With fewer rows nothing is recommended.
FEWEST_ROWS = 4 * FOLDS

#: Rows that are judged; of more rows, a sample. The intervals are narrow by then.
MOST_ROWS = 20_000

#: Logits that are judged, but at least those of 1,000 rows: bounds the time to seconds.
MOST_LOGITS = 1 << 23


@dataclass(frozen=True)
class Temperature:
    """A temperature for the logits of a model."""

    fitted: float  #: on all rows
    cross_fitted: CrossFit | None  #: what it brings on rows that it was not fitted on; None with too few rows

    @property
    def recommended(self) -> float:
        """The fitted temperature if it lowers the log loss beyond chance and the ECE is not worse, otherwise 1."""
        found = self.cross_fitted
        helps = (
            found is not None
            and found["log_loss_difference_interval"][1] < 0
            and found["error_at_temperature"] <= found["error"]
        )
        return self.fitted if helps else 1.0


def judge(logits: np.ndarray, classes: np.ndarray, random: np.random.Generator) -> Temperature:
    """Fit a temperature, and judge it; logits float32 [rows, classes], classes int64 [rows]."""
    fitted = calibration.fit_temperature(logits, classes)
    if len(classes) < FEWEST_ROWS:
        return Temperature(fitted, None)
    most = min(MOST_ROWS, max(1_000, MOST_LOGITS // logits.shape[1]))
    if len(classes) > most:
        some = np.sort(random.choice(len(classes), size=most, replace=False))
        logits, classes = logits[some], classes[some]
    fold_of = random.permutation(len(classes)) % FOLDS
    losses, confidences = np.empty(len(classes)), np.empty(len(classes))
    for fold in range(FOLDS):
        judged = fold_of == fold
        heat = calibration.fit_temperature(logits[~judged], classes[~judged])
        losses[judged] = calibration.losses(logits[judged], classes[judged], heat)
        confidences[judged] = calibration.confidences(logits[judged], heat)
    difference = losses - calibration.losses(logits, classes)
    is_correct = logits.argmax(axis=1) == classes
    before, after = (_Gaps(each, is_correct) for each in (calibration.confidences(logits), confidences))
    rows = len(classes)
    drawn = np.array(
        [
            (times @ difference / rows, after.error(times) - before.error(times))
            for times in intervals.resampled_rows(rows, random)
        ]
    )
    bounds = [list(intervals.of_resamples(values)) for values in drawn.T]
    every = np.ones(rows)
    return Temperature(
        fitted,
        {
            "rows": rows,
            "log_loss_difference": float(difference.mean()),
            "log_loss_difference_interval": bounds[0],
            "error": before.error(every),
            "error_at_temperature": after.error(every),
            "error_difference_interval": bounds[1],
        },
    )


class _Gaps:
    """Confidence minus correctness of each row and its bin, prepared for the ECE of many resamples."""

    def __init__(self, confidence: np.ndarray, is_correct: np.ndarray) -> None:
        self._bin_of = calibration.bins_of(confidence)
        self._gaps = confidence - is_correct

    def error(self, times: np.ndarray) -> float:
        """Expected calibration error with each row counted `times`."""
        sums = np.bincount(self._bin_of, weights=times * self._gaps)
        return float(np.abs(sums).sum() / times.sum())
