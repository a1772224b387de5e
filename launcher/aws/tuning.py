"""Tuning jobs on SageMaker: progress of the trials, summary and leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from launcher.aws import follow, jobs
from launcher.plan.prices import Price

#: Concurrent requests for the trials' descriptions, which alone have the billable time.
_CONCURRENT_REQUESTS = 8


def watch(sagemaker: Any, name: str) -> dict[str, Any]:
    """Print the trials' changes of state until the tuning job ends. Returns its description. Raises LostContact."""
    shown: dict[str, str] = {}

    def poll() -> dict[str, Any] | None:
        job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        for trial in summaries(sagemaker, name):
            state = _state(trial)
            if shown.get(trial["TrainingJobName"]) != state:
                print(f"--- {trial['TrainingJobName']}: {state}", flush=True)
                shown[trial["TrainingJobName"]] = state
        return job if job["HyperParameterTuningJobStatus"] in jobs.ENDED else None

    return follow.until_ended(poll)


def summaries(sagemaker: Any, name: str) -> list[dict[str, Any]]:
    """The trials in the order of their start, as listed by AWS. Raises boto3's exceptions."""
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name,
        SortBy="CreationTime",
        SortOrder="Ascending",
        PaginationConfig={"PageSize": 100},
    )
    return [trial for page in pages for trial in page["TrainingJobSummaries"]]


def with_bills(sagemaker: Any, trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The trials with their billable seconds, None if not known yet. Raises boto3's exceptions."""

    def with_bill(trial: Mapping[str, Any]) -> dict[str, Any]:
        job = sagemaker.describe_training_job(TrainingJobName=trial["TrainingJobName"])
        return {**trial, "BillableTimeInSeconds": job.get("BillableTimeInSeconds")}

    with ThreadPoolExecutor(_CONCURRENT_REQUESTS) as pool:
        return list(pool.map(with_bill, trials))


def _state(trial: Mapping[str, Any]) -> str:
    metric = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    tuned = " ".join(f"{name}={value}" for name, value in trial["TunedHyperParameters"].items())
    result = f"; {metric['MetricName']}={metric['Value']:g}" if metric else ""
    return f"{trial['TrainingJobStatus']} ({tuned}){result}"


def resources_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The instances of each trial. The API has two keys for them."""
    definition = job["TrainingJobDefinition"]
    return definition.get("HyperParameterTuningResourceConfig") or definition["ResourceConfig"]


def summary(job: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], price: Price | None) -> dict[str, Any]:
    """The state of a tuning job as data, without empty values. `leaderboard` lists the trials, best first."""
    config = job["HyperParameterTuningJobConfig"]
    objective = config["HyperParameterTuningJobObjective"]
    resources = resources_of(job)
    is_spot = job["TrainingJobDefinition"].get("EnableManagedSpotTraining", False)
    billed = [trial["BillableTimeInSeconds"] for trial in trials if trial["BillableTimeInSeconds"] is not None]
    spot = " (spot)" if is_spot else ""
    values = {
        "tuning_job": job["HyperParameterTuningJobName"],
        "status": job["HyperParameterTuningJobStatus"],
        "reason": job.get("FailureReason"),
        "created": jobs.iso_time(job.get("CreationTime")),
        "ended": jobs.iso_time(job.get("HyperParameterTuningEndTime")),
        "objective": f"{objective['Type']} {objective['MetricName']}",
        "strategy": config["Strategy"],
        "instances": f"{resources['InstanceCount']} {resources['InstanceType']}{spot} per trial",
        "trials": f"{len(trials)} of {config['ResourceLimits']['MaxNumberOfTrainingJobs']}",
        "billable_seconds": sum(billed) if billed else None,
        "cost": price.cost(sum(billed), resources["InstanceCount"]) if price and billed else None,
        "price": f"{price.per_hour:g} per hour ({price.source})" if price and billed else None,
        "best": job.get("BestTrainingJob", {}).get("TrainingJobName"),
        "leaderboard": _leaderboard(trials, objective["Type"], resources["InstanceCount"], price),
    }
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _leaderboard(
    trials: Sequence[Mapping[str, Any]], direction: str, instances: int, price: Price | None
) -> list[dict[str, Any]]:
    rows = []
    for trial in trials:
        billed = trial["BillableTimeInSeconds"]
        row = {
            "trial": trial["TrainingJobName"],
            "status": trial["TrainingJobStatus"],
            "objective": trial.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
            "billable_seconds": billed,
            "cost": price.cost(billed, instances) if price and billed is not None else None,
            "hyperparameters": dict(trial["TunedHyperParameters"]),
            "reason": trial.get("FailureReason"),
        }
        rows.append({name: value for name, value in row.items() if value is not None})
    sign = -1 if direction == "Maximize" else 1
    return sorted(rows, key=lambda row: ("objective" not in row, sign * row.get("objective", 0)))


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The leaderboard as lines of text, with a header line."""
    names = sorted({name for row in rows for name in row["hyperparameters"]})
    cells = [["trial", "status", "objective", "seconds", "cost", *names]]
    for row in rows:
        numbers = [row.get(name) for name in ("objective", "billable_seconds", "cost")]
        shown = ["-" if number is None else f"{number:g}" for number in numbers]
        cells.append([row["trial"], row["status"], *shown, *(row["hyperparameters"].get(name, "-") for name in names)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
