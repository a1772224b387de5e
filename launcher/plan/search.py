"""A tuning job's search space and its CreateHyperParameterTuningJob request, as plain data: no SDK, no network.

Each trial is a training job, so the request combines a CreateTrainingJob request with a Search. It goes out through
boto3: the SDK's HyperparameterTuner adds _tuning_objective_metric to the hyperparameters, and would be a second way to
write the search.
"""

from __future__ import annotations

import itertools
import math
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract import hyperparameters, parsing
from text_classifier.contract.errors import SettingsError, UserError, nearest, quoted
from text_classifier.contract.hyperparameters import Hyperparameter
from text_classifier.contract.metric_names import BY_TASK, DEFAULTS, ERRORS, LOSSES

#: The file with the `ranges`, unless --config names another.
DEFAULT_FILE = Path("train.yaml")

#: A list of values, or a mapping of min, max and scaling.
Range = Sequence[str] | Mapping[str, str]

STRATEGIES = ("Bayesian", "Random", "Grid")
SCALINGS = ("Auto", "Linear", "Logarithmic", "ReverseLogarithmic")
DEFAULT_MAX_JOBS = 10

#: Trials with different metrics cannot be compared, and trials with one checkpoint folder would overwrite each other.
_FIXED = ("checkpoint_dir", "metric_for_best_model")
_KINDS = {float: "Continuous", int: "Integer"}
#: Hyperparameters in a rule of contract/parsing.py, at most.
_MOST_IN_A_RULE = 3
#: Keys of CreateTrainingJob that a tuning job's TrainingJobDefinition does not have.
_NOT_IN_DEFINITION = ("TrainingJobName", "HyperParameters", "ProfilerConfig", "Tags")
_RENAMED = {"ResourceConfig": "HyperParameterTuningResourceConfig"}


@dataclass(frozen=True)
class Search:
    """The ranges in the format of the API, the metric to optimize, and the number of trials."""

    ranges: Mapping[str, list[dict[str, Any]]]
    objective: str
    max_jobs: int
    max_parallel_jobs: int
    strategy: str
    stops_early: bool

    @property
    def names(self) -> list[str]:
        """The hyperparameters that are searched."""
        return [entry["Name"] for entries in self.ranges.values() for entry in entries]


def from_options(options: Namespace) -> Search:
    """The search that the options and train.yaml describe. Raises UserError."""
    if not options.ranges:
        raise UserError(
            f"there is nothing to search; add `ranges` to {DEFAULT_FILE} (or the file of --config), as in "
            "`ranges: {learning_rate: {min: 1e-5, max: 1e-4}, train_batch_size: [16, 32]}`"
        )
    if "checkpoint_dir" in options.hyperparameters:
        raise UserError("checkpoint_dir cannot be set for tuning, where each trial has its own folder; remove it")
    if options.keep_alive:
        raise UserError("--keep-alive cannot be set for tuning, where SageMaker reuses instances by itself; remove it")
    if options.strategy not in STRATEGIES:
        raise UserError(f"--strategy {options.strategy!r} is not supported; use {', '.join(STRATEGIES)}")
    ranges = _ranges(options.ranges)
    _require_trials(ranges, options.hyperparameters)
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
        raise UserError(f"--objective {objective!r} is not a metric of task={task}; {nearest(objective, reported)}")
    return objective


def _max_jobs(ranges: Mapping[str, list[dict[str, Any]]], strategy: str, given: int | None) -> int:
    if strategy != "Grid":
        return given or DEFAULT_MAX_JOBS
    for entry in ranges["ContinuousParameterRanges"] + ranges["IntegerParameterRanges"]:
        raise UserError(f"ranges: {entry['Name']}: --strategy Grid needs a list of values")
    combinations = math.prod(len(entry["Values"]) for entry in ranges["CategoricalParameterRanges"])
    if given not in (None, combinations):
        raise UserError(f"--strategy Grid makes {combinations} trials, one per combination; remove --max-jobs")
    return combinations


def _ranges(given: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    table = {row.name: row for row in hyperparameters.TABLE if row.name not in _FIXED}
    ranges: dict[str, list[dict[str, Any]]] = {
        f"{kind}ParameterRanges": [] for kind in ("Continuous", "Categorical", "Integer")
    }
    for name, range_ in given.items():
        if name not in table:
            raise UserError(f"ranges: {name!r} is not a hyperparameter that can be searched; {nearest(name, table)}")
        if isinstance(range_, Mapping):
            kind, entry = _numbers(table[name], range_)
        else:
            kind, entry = "Categorical", _values(table[name], range_)
        ranges[f"{kind}ParameterRanges"].append(entry)
    return ranges


def _values(row: Hyperparameter, values: Any) -> dict[str, Any]:
    read = [row.read(value) for value in values]
    if len(set(read)) < max(2, len(read)):
        raise UserError(f"ranges: {row.name}: give at least two different values, none of them twice")
    return {"Name": row.name, "Values": list(values)}


def _numbers(row: Hyperparameter, range_: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    kind = _KINDS.get(row.type)
    if kind is None:
        raise UserError(f"ranges: {row.name} is not a number; give a list of values, as in [a, b]")
    if not {"min", "max"} <= set(range_) <= {"min", "max", "scaling"}:
        raise UserError(f"ranges: {row.name}: write {{min: 1, max: 2}} or {{min: 1, max: 2, scaling: Linear}}")
    low, high, scaling = row.read(range_["min"]), row.read(range_["max"]), range_.get("scaling", "Auto")
    if low >= high:
        raise UserError(f"ranges: {row.name}: min {low} is not less than max {high}; swap them")
    if scaling not in SCALINGS:
        raise UserError(f"ranges: {row.name}: scaling {scaling!r} is unknown; use {', '.join(SCALINGS)}")
    if scaling == "Logarithmic" and low <= 0:
        raise UserError(f"ranges: {row.name}: Logarithmic scaling needs a min above 0; raise it, or use Linear")
    if scaling == "ReverseLogarithmic" and (kind == "Integer" or not 0 <= low < high < 1):
        raise UserError(f"ranges: {row.name}: ReverseLogarithmic scaling needs 0 <= min < max < 1; use Linear")
    return kind, {"Name": row.name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scaling}


def _require_trials(ranges: Mapping[str, list[dict[str, Any]]], given: Mapping[str, str]) -> None:
    """Raise UserError for a combination of values with which a trial would fail at its start."""
    for trial in _trials(ranges, given):
        try:
            parsing.parse(trial)
        except SettingsError as error:
            searched = [entry["Name"] for entries in ranges.values() for entry in entries]
            named = [name for name in searched if re.search(rf"\b{name}\b", str(error))] or searched
            values = ", ".join(f"{name}={quoted(trial[name])}" for name in named)
            raise UserError(f"ranges: a trial with {values} would fail: {error}") from None


def _trials(ranges: Mapping[str, list[dict[str, Any]]], given: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Hyperparameters of trials, one of which fails if any trial does.

    All combinations may be billions. A rule looks at few hyperparameters, so it is broken whatever the others are:
    the values of each three are combined, and the others have their first.
    """
    values = {entry["Name"]: _tried(entry) for entries in ranges.values() for entry in entries}
    first = {**given, **{name: tried[0] for name, tried in values.items()}}
    for names in itertools.combinations(values, min(len(values), _MOST_IN_A_RULE)):
        for combination in itertools.product(*(values[name] for name in names)):
            yield {**first, **dict(zip(names, combination, strict=True))}


def _tried(entry: Mapping[str, Any]) -> list[str]:
    """The values of a list. Of numbers, the ends of the range, and 1 as in cross_validation=1 is within 0 to 5."""
    if "Values" in entry:
        return list(entry["Values"])
    low, high = entry["MinValue"], entry["MaxValue"]
    return [low, "1", high] if float(low) < 1 < float(high) else [low, high]


def create_tuning_job(job: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """The request, with the same keys that the SDK's HyperparameterTuner sends; each trial is a job like `job`.

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
