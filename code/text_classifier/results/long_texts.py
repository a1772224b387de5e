"""What reading long texts to their end has brought: the mean over their windows, compared with their first window."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from text_classifier.contract.schema import LongTexts
from text_classifier.results.evaluated import Evaluated, Measured
from text_classifier.runtime.seeds import SeedStream


def compare(evaluated: Evaluated, name: Measured, seed: int) -> LongTexts | None:
    """The metrics of the texts of a split that have several windows; None if there are none."""
    counts = evaluated.windows[name].counts
    rows = np.flatnonzero(counts > 1)
    if not len(rows):
        return None
    task, targets = evaluated.task, evaluated.rows[name].targets[rows]
    by_mean, by_first = (
        task.predict(logits[name][rows]) for logits in (evaluated.logits, evaluated.first_window_logits)
    )
    random = np.random.default_rng((seed, SeedStream.SPLIT_INTERVALS))

    def part(predicted: np.ndarray) -> dict[str, Any]:
        values, intervals = task.score(predicted, targets, len(evaluated.classes), random)
        return {
            "rows": len(rows),
            **{metric: values[metric] for metric in task.sliced},
            "intervals": {metric: list(intervals[metric]) for metric in task.sliced},
        }

    difference, interval = task.difference(by_mean, by_first, targets, random)
    found = {
        **part(by_mean),
        "windows": int(counts[rows].sum()),
        "first_window": part(by_first),
        "mean_minus_first_window": difference,
        "mean_minus_first_window_interval": list(interval),
    }
    return cast(LongTexts, found)
