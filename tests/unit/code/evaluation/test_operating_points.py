"""Thresholds of each class guarantee what they promise on the rows that they were measured on."""

from __future__ import annotations

import numpy as np

from text_classifier.evaluation import operating_points
from text_classifier.evaluation.intervals import Ranking


def test_each_class_has_the_best_threshold_for_precision_and_recall() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 3, 400)
    scores = random.normal(size=(400, 3)) + 1.5 * np.eye(3)[truth]
    rankings = [Ranking.of(scores[:, index], truth == index) for index in range(3)]
    found = operating_points.of_classes(("a", "b", "c"), rankings)
    assert list(found) == ["a", "b", "c"]
    for index, rows in enumerate(found.values()):
        probabilities, is_class = 1 / (1 + np.exp(-scores[:, index])), truth == index
        best = {"precision": 0.0, "recall": 0.0}
        for threshold in probabilities:
            chosen = probabilities >= threshold
            right = np.sum(chosen & is_class)
            measured = {"precision": right / chosen.sum(), "recall": right / is_class.sum()}
            for wanted, other in (("precision", "recall"), ("recall", "precision")):
                if measured[wanted] >= 0.9:
                    best[wanted] = max(best[wanted], measured[other])
        assert [row["wanted"] for row in rows] == ["precision", "recall"]
        assert rows[0]["recall"] == best["precision"] and rows[1]["precision"] == best["recall"]


def test_a_class_without_rows_or_with_all_of_them_has_none() -> None:
    scores = np.array([1.0, 2.0])
    rankings = [Ranking.of(scores, np.array(has)) for has in ([True, True], [False, False], [True, False])]
    assert list(operating_points.of_classes(("all", "none", "some"), rankings)) == ["some"]
