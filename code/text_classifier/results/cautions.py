"""Warnings about a model that its metrics show to be of little use, for the log, the report and the card."""

from __future__ import annotations

from typing import Any, cast

from text_classifier.contract.metric_names import ERRORS
from text_classifier.contract.schema import Metrics
from text_classifier.tasks.base import Task


def cautions(task: Task, metrics: Metrics) -> list[str]:
    """One sentence for each. The validation rows and the baselines must have been measured."""
    return [*task.cautions(metrics["validation"]), *_no_better(metrics)]


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
