"""Warnings about a model that its metrics show to be of no use, for the log, the report and the card."""

from __future__ import annotations

from typing import Any, cast

from text_classifier.contract.errors import listed
from text_classifier.contract.metric_names import ERRORS
from text_classifier.contract.schema import Metrics


def cautions(metrics: Metrics, *, is_multi_label: bool) -> list[str]:
    """One sentence for each thing that is wrong. The validation rows and the baselines must have been measured."""
    return [*(_never_predicted(metrics) if is_multi_label else []), *_no_better(metrics)]


def _never_predicted(metrics: Metrics) -> list[str]:
    """Of labels, which a threshold may never let through; of classes one is always predicted."""
    validation = metrics["validation"]
    table = [row for row in validation["per_class"] if row["rows"]]
    never = [row["class"] for row in table if not row["predicted"]]
    if not never:
        return []
    which = (
        f"no label for any of the {validation['rows']:,} validation rows"
        if not any(row["predicted"] for row in validation["per_class"])
        else f"{listed(never)} for no validation row, though some rows have {'it' if len(never) == 1 else 'them'}"
    )
    return [f"the model predicts {which}; train longer, or set class_weights=balanced or thresholds=fitted"]


def _no_better(metrics: Metrics) -> list[str]:
    """Than the constant baseline, which is the first."""
    headline, simplest = metrics["headline"], metrics["baselines"][0]
    gain = simplest["model_minus_baseline"] * (-1 if headline in ERRORS else 1)
    if gain > 0:
        return []
    value = cast(dict[str, Any], simplest)[headline]
    return [
        f"the model is no better than the baseline ({simplest['name']}) on {simplest['rows']:,} validation rows: "
        f"{headline} {value + simplest['model_minus_baseline']:.4f}, baseline {value:.4f}; train longer, change "
        "learning_rate, or check the labels"
    ]
