"""What a tuning job searches, and its CreateHyperParameterTuningJob request, as plain data: no SDK, no network.

Each trial is a training job, so the request is made of a CreateTrainingJob request and of a Search.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract import hyperparameters
from text_classifier.contract.errors import UserError, nearest
from text_classifier.contract.hyperparameters import Hyperparameter
from text_classifier.contract.metric_names import BY_TASK, DEFAULTS, ERRORS, LOSSES

#: The file that `ranges` are read from, unless --config names another.
DEFAULT_FILE = Path("train.yaml")

#: Values to choose from, or min, max and scaling.
Range = Sequence[str] | Mapping[str, str]

STRATEGIES = ("Bayesian", "Random", "Grid")
SCALINGS = ("Auto", "Linear", "Logarithmic", "ReverseLogarithmic")
DEFAULT_MAX_JOBS = 10

#: Trials that differ in these could not be compared, or would write to one folder.
_FIXED = ("checkpoint_dir", "metric_for_best_model")
_KINDS = {float: "Continuous", int: "Integer"}
#: Of CreateTrainingJob, and not of a tuning job's definition.
_NOT_IN_DEFINITION = ("TrainingJobName", "HyperParameters", "ProfilerConfig", "Tags")
_RENAMED = {"ResourceConfig": "HyperParameterTuningResourceConfig"}


@dataclass(frozen=True)
class Search:
    """Which hyperparameters vary, in ranges as the API has them, towards which metric, in how many trials."""

    ranges: Mapping[str, list[dict[str, Any]]]
    objective: str
    max_jobs: int
    max_parallel_jobs: int
    strategy: str
    stops_early: bool

    @property
    def names(self) -> list[str]:
        """The hyperparameters that vary."""
        return [entry["Name"] for entries in self.ranges.values() for entry in entries]


def read(options: Namespace) -> Search:
    """The search that the options and train.yaml ask for. Raises UserError."""
    if not options.ranges:
        raise UserError(
            f"there is nothing to search; give {DEFAULT_FILE} (--config) a mapping `ranges`, as in "
            "`ranges: {learning_rate: {min: 1e-5, max: 1e-4}, train_batch_size: [16, 32]}`"
        )
    if "checkpoint_dir" in options.hyperparameters:
        raise UserError("checkpoint_dir is not for tuning, where each trial has a folder of its own; leave it out")
    if options.keep_alive:
        raise UserError("--keep-alive is not for tuning, where SageMaker reuses instances by itself; leave it out")
    if options.strategy not in STRATEGIES:
        raise UserError(f"--strategy {options.strategy!r} is not supported; take {', '.join(STRATEGIES)}")
    ranges = _ranges(options.ranges)
    max_jobs = _max_jobs(ranges, options.strategy, options.max_jobs)
    if options.max_parallel_jobs > max_jobs:
        raise UserError(f"--max-parallel-jobs {options.max_parallel_jobs} is more than the {max_jobs} trials; lower it")
    return Search(
        ranges, _objective(options), max_jobs, options.max_parallel_jobs, options.strategy, options.early_stopping
    )


def _objective(options: Namespace) -> str:
    given: Mapping[str, str] = options.hyperparameters
    task = given.get("task", next(row.default for row in hyperparameters.TABLE if row.name == "task"))
    objective = options.objective or given.get("metric_for_best_model") or DEFAULTS[task]
    reported = (*LOSSES, *BY_TASK[task])
    if objective not in reported:
        raise UserError(f"--objective {objective!r} is no metric of {task}; {nearest(objective, reported)}")
    return objective


def _max_jobs(ranges: Mapping[str, list[dict[str, Any]]], strategy: str, given: int | None) -> int:
    if strategy != "Grid":
        return given or DEFAULT_MAX_JOBS
    for entry in ranges["ContinuousParameterRanges"] + ranges["IntegerParameterRanges"]:
        raise UserError(f"ranges: {entry['Name']}: --strategy Grid tries values one by one; give them as a list")
    combinations = math.prod(len(entry["Values"]) for entry in ranges["CategoricalParameterRanges"])
    if given not in (None, combinations):
        raise UserError(f"--strategy Grid makes {combinations} trials, one for each combination; leave out --max-jobs")
    return combinations


def _ranges(given: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    table = {row.name: row for row in hyperparameters.TABLE if row.name not in _FIXED}
    ranges: dict[str, list[dict[str, Any]]] = {
        f"{kind}ParameterRanges": [] for kind in ("Continuous", "Categorical", "Integer")
    }
    for name, range_ in given.items():
        name = hyperparameters.ALIASES.get(name, name)
        if name not in table:
            raise UserError(f"ranges: {name!r} is no hyperparameter to search; {nearest(name, table)}")
        if isinstance(range_, Mapping):
            kind, entry = _numbers(table[name], range_)
        else:
            kind, entry = "Categorical", _values(table[name], range_)
        ranges[f"{kind}ParameterRanges"].append(entry)
    return ranges


def _values(row: Hyperparameter, values: Any) -> dict[str, Any]:
    read = [row.read(value) for value in values]
    if len(set(read)) < max(2, len(read)):
        raise UserError(f"ranges: {row.name}: give at least two values, each once")
    return {"Name": row.name, "Values": list(values)}


def _numbers(row: Hyperparameter, range_: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    kind = _KINDS.get(row.type)
    if kind is None:
        raise UserError(f"ranges: {row.name} is not a number; list its values, as [a, b]")
    if not {"min", "max"} <= set(range_) <= {"min", "max", "scaling"}:
        raise UserError(f"ranges: {row.name}: write {{min: 1, max: 2}} or {{min: 1, max: 2, scaling: Linear}}")
    low, high, scaling = row.read(range_["min"]), row.read(range_["max"]), range_.get("scaling", "Auto")
    if low >= high:
        raise UserError(f"ranges: {row.name}: min {low} is not less than max {high}; exchange them")
    if scaling not in SCALINGS:
        raise UserError(f"ranges: {row.name}: scaling {scaling!r} is not known; take {', '.join(SCALINGS)}")
    if scaling == "Logarithmic" and low <= 0:
        raise UserError(f"ranges: {row.name}: Logarithmic scaling needs a min above 0; raise it, or take Linear")
    if scaling == "ReverseLogarithmic" and (kind == "Integer" or not 0 <= low < high < 1):
        raise UserError(f"ranges: {row.name}: ReverseLogarithmic scaling is for 0 <= min < max < 1; take Linear")
    return kind, {"Name": row.name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scaling}


def create_tuning_job(job: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """Return the request, with the keys that the SDK's HyperparameterTuner sends; each trial is a job like `job`.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
    """
    static = {name: value for name, value in job.get("HyperParameters", {}).items() if name not in search.names}
    definition = {_RENAMED.get(key, key): value for key, value in job.items() if key not in _NOT_IN_DEFINITION}
    request: dict[str, Any] = {
        "HyperParameterTuningJobName": job["TrainingJobName"],
        "HyperParameterTuningJobConfig": {
            "Strategy": search.strategy,
            "HyperParameterTuningJobObjective": {
                "Type": "Minimize" if search.objective in (*LOSSES, *ERRORS) else "Maximize",
                "MetricName": search.objective,
            },
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": search.max_jobs,
                "MaxParallelTrainingJobs": search.max_parallel_jobs,
            },
            "ParameterRanges": dict(search.ranges),
            "TrainingJobEarlyStoppingType": "Auto" if search.stops_early else "Off",
        },
        "TrainingJobDefinition": {"StaticHyperParameters": static, **definition},
    }
    if "Tags" in job:
        request["Tags"] = job["Tags"]
    return request
