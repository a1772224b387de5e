"""Probability thresholds by what they guarantee: a precision or a recall on the measured rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from text_classifier.contract.schema import Threshold
from text_classifier.evaluation.intervals import Ranking

#: Precisions, and recalls, of the table of one class.
WANTED = (0.8, 0.9, 0.95, 0.99)

#: Those of each of several classes or labels.
WANTED_OF_EACH = (0.9,)


def of_classes(names: Sequence[str], rankings: Sequence[Ranking]) -> dict[str, list[Threshold]]:
    """The table of each class or label that some rows have and some do not, against all others."""
    return {
        name: table(ranking, WANTED_OF_EACH)
        for name, ranking in zip(names, rankings, strict=True)
        if ranking.is_positive.any() and not ranking.is_positive.all()
    }


def table(ranking: Ranking, levels: Sequence[float] = WANTED) -> list[Threshold]:
    """The threshold with the highest recall for each wanted precision, and vice versa.

    Rows at or above the threshold count as positive. All None where no threshold reaches the wanted value.
    """
    from scipy.special import expit

    positives, negatives = ranking.cumulative_counts()
    measured = {"precision": positives / (positives + negatives), "recall": positives / positives[-1]}
    entries: list[Threshold] = []
    for wanted, other in (("precision", "recall"), ("recall", "precision")):
        for at_least in levels:
            good = np.flatnonzero(measured[wanted] >= at_least)
            entry: dict[str, Any] = {
                "wanted": wanted,
                "at_least": at_least,
                "threshold": None,
                **dict.fromkeys(measured),
            }
            if len(good):
                best = good[measured[other][good].argmax()]
                entry |= {name: float(values[best]) for name, values in measured.items()}
                entry["threshold"] = float(expit(ranking.scores[best]))
            entries.append(cast(Threshold, entry))
    return entries
