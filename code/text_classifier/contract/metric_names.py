"""The metrics of an epoch: their names, the line that prints them, and the expressions that find them in a log.

SageMaker reads metrics from the log by regular expressions that the job's request carries, so the launcher takes them
from the same table that prints the line. Pure standard library, for that reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

#: The metrics of an epoch, by task. The names are scikit-learn's; roc_auc and auprc exist for two classes only, and an
#: exact match is a row all of whose labels are right.
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

#: The metric that chooses the best epoch, unless another one is named.
DEFAULTS: Mapping[str, str] = {"single_label": "f1_macro", "multi_label": "f1_micro", "regression": "mae"}

#: Of these less is better.
ERRORS = frozenset({"mae", "mse", "rmse"})

METRICS = tuple(dict.fromkeys(name for names in BY_TASK.values() for name in names))

#: Mean losses of an epoch, of every task.
LOSSES = ("train_loss", "validation_loss")

#: What a job's log reports, in the order of the line.
REPORTED = (*LOSSES, *METRICS)


def is_better(name: str, value: float, other: float) -> bool:
    """Whether one value of a metric is better than another; any number is better than NaN."""
    return (math.isnan(other) and not math.isnan(value)) or (value < other if name in ERRORS else value > other)


def line(epoch: int, step: int, values: Mapping[str, float]) -> str:
    """One epoch as `name=value;` pairs; a metric that this task does not have is left out."""
    return f"epoch={epoch}; step={step}; {pairs(values)}"


def pairs(values: Mapping[str, float]) -> str:
    """The values that SageMaker is to read, of which the last in a log are those of the job."""
    return " ".join(f"{name}={values[name]:.6g};" for name in REPORTED if name in values)


def metric_definitions() -> list[dict[str, str]]:
    """MetricDefinitions of a training job: names as in the log, expressions that take nan, -1 and 4.9e-05."""
    number = r"([-+]?(?:[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|nan|inf))"
    return [{"Name": name, "Regex": rf"\b{name}={number};"} for name in REPORTED]
