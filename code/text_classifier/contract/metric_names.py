"""Metric names, the log line of an epoch, and the regular expressions by which SageMaker reads it.

The expressions are part of a job's request, so the launcher needs this module: it uses the standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

#: The metrics of an epoch, by task. The names are scikit-learn's; roc_auc and auprc exist for two classes only, and
#: exact_match is subset accuracy: the fraction of rows whose labels are all correct.
BY_TASK: Mapping[str, tuple[str, ...]] = {
    "single_label": ("accuracy", "precision_macro", "recall_macro", "f1_macro", "roc_auc", "auprc"),
    "multi_label": (
        "exact_match",
        "precision_micro",
        "recall_micro",
        "f1_micro",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "roc_auc_macro",
        "auprc_macro",
    ),
    "regression": ("mae", "mse", "rmse", "spearman"),
}

#: The default of metric_for_best_model.
DEFAULTS: Mapping[str, str] = {"single_label": "f1_macro", "multi_label": "f1_micro", "regression": "mae"}

#: Metrics where lower is better.
ERRORS = frozenset({"mae", "mse", "rmse"})

METRICS = tuple(dict.fromkeys(name for names in BY_TASK.values() for name in names))

#: Mean losses of an epoch, for every task.
LOSSES = ("train_loss", "validation_loss")

#: Everything that the log reports, in the order of the line.
REPORTED = (*LOSSES, *METRICS)


def is_better(name: str, value: float, other: float) -> bool:
    """Whether one value of a metric is better than another; any number is better than NaN."""
    return (math.isnan(other) and not math.isnan(value)) or (value < other if name in ERRORS else value > other)


def line(epochs: float, step: int, values: Mapping[str, float]) -> str:
    """The log line after so many epochs: `name=value;` pairs of the metrics that are in `values`."""
    return f"epoch={epochs:g}; step={step}; {pairs(values)}"


def pairs(values: Mapping[str, float]) -> str:
    """`name=value;` pairs. SageMaker takes the last ones in a log as the job's final metrics."""
    return " ".join(f"{name}={values[name]:.6g};" for name in REPORTED if name in values)


_LIKE_A_METRIC = re.compile(rf"\b({'|'.join(REPORTED)})=(?=[-+]?(?:[0-9]|nan|inf))")


def without_metrics(text: str) -> str:
    """The text with `=` escaped where SageMaker would read a metric: a label may be called `accuracy=1;`."""
    return _LIKE_A_METRIC.sub(r"\1\\x3d", text)


def metric_definitions() -> list[dict[str, str]]:
    """MetricDefinitions of a training job: names as in the log, expressions that match nan, -1 and 4.9e-05 too."""
    number = r"([-+]?(?:[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|nan|inf))"
    return [{"Name": name, "Regex": rf"\b{name}={number};"} for name in REPORTED]
