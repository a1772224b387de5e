from __future__ import annotations

from typing import Any

import pytest

from text_classifier.results.cautions import cautions
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.single_label import SingleLabel


def metrics_of(headline: str, gain: float, predicted: tuple[int, ...] = (5, 5, 0)) -> Any:
    """Of three labels with 4, 2 and 0 rows."""
    rows = zip("abc", (4, 2, 0), predicted, strict=True)
    return {
        "headline": headline,
        "validation": {"rows": 9, "per_class": [{"class": c, "rows": n, "predicted": p} for c, n, p in rows]},
        "baselines": [{"name": "simple", "rows": 9, headline: 0.5, "model_minus_baseline": gain}, {"name": "other"}],
    }


@pytest.mark.parametrize(
    ("headline", "gain", "model"), [("accuracy", 0.0, 0.5), ("f1_micro", -0.25, 0.25), ("mae", 0.125, 0.625)]
)
def test_a_model_no_better_than_the_constant_is_named(headline: str, gain: float, model: float) -> None:
    assert cautions(SingleLabel(), metrics_of(headline, gain)) == [
        f"the model is no better than the baseline (simple) on 9 validation rows: {headline} {model:.4f}, baseline "
        "0.5000; train longer, change learning_rate, or check the labels"
    ]


@pytest.mark.parametrize(("headline", "gain"), [("accuracy", 0.01), ("mae", -0.01)])
def test_a_better_model_gets_no_warning(headline: str, gain: float) -> None:
    assert cautions(SingleLabel(), metrics_of(headline, gain, (0, 0, 0))) == []


def test_labels_that_are_never_predicted_are_named() -> None:
    advice = "train longer, or set class_weights=balanced or thresholds=fitted"
    for predicted, which in (
        ((0, 0, 0), "no label for any of the 9 rows"),
        ((5, 0, 0), "b for no row, though some have it"),
        ((0, 0, 1), "a, b for no row, though some have them"),
    ):
        found = cautions(MultiLabel(","), metrics_of("f1_micro", 0.1, predicted))
        assert found == [f"the model predicts {which}; {advice}"]
