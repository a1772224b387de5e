"""The tasks by the names that the hyperparameter `task` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.regression import Regression
from text_classifier.tasks.single_label import SingleLabel


def task_of(hyperparameters: Mapping[str, Any]) -> Task:
    """The task of a job with these hyperparameters."""
    tasks: Mapping[str, Task] = {
        "single_label": SingleLabel(),
        "multi_label": MultiLabel(hyperparameters["label_separator"]),
        "regression": Regression(),
    }
    return tasks[hyperparameters["task"]]
