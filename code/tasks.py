"""The tasks by the names that the hyperparameter `task` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multi_label import MultiLabel
from regression import Regression
from single_label import SingleLabel
from task import Task


def of(hyperparameters: Mapping[str, Any]) -> Task:
    """The task of a job with these hyperparameters."""
    tasks: Mapping[str, Task] = {
        "single_label": SingleLabel(),
        "multi_label": MultiLabel(hyperparameters["label_separator"]),
        "regression": Regression(),
    }
    return tasks[hyperparameters["task"]]
