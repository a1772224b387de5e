"""A tuning job in AWS: its trials as they come and go, and the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from launcher.aws import follow, jobs
from launcher.plan.prices import Price

#: A trial's billable time is in its own description alone; so many are asked for at the same time.
_ASKED_TOGETHER = 8


def watch(sagemaker: Any, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Print what becomes of the trials until the tuning job ends; its description and theirs. Raises LostContact."""
    shown: dict[str, str] = {}
    trials: list[dict[str, Any]] = []

    def look() -> dict[str, Any] | None:
        job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        found = summaries(sagemaker, name)
        for trial in found:
            state = _state(trial)
            if shown.get(trial["TrainingJobName"]) != state:
                print(f"--- {trial['TrainingJobName']}: {state}", flush=True)
                shown[trial["TrainingJobName"]] = state
        if job["HyperParameterTuningJobStatus"] not in jobs.ENDED:
            return None
        trials[:] = with_bills(sagemaker, found)
        return job

    return follow.until_ended(look), trials


def summaries(sagemaker: Any, name: str) -> list[dict[str, Any]]:
    """What AWS lists of the trials, in the order of their start. Raises what boto3 raises."""
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name,
        SortBy="CreationTime",
        SortOrder="Ascending",
        PaginationConfig={"PageSize": 100},
    )
    return [trial for page in pages for trial in page["TrainingJobSummaries"]]


def with_bills(sagemaker: Any, trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same with their billable seconds, where there are some yet. Raises what boto3 raises."""

    def ask(trial: Mapping[str, Any]) -> dict[str, Any]:
        job = sagemaker.describe_training_job(TrainingJobName=trial["TrainingJobName"])
        return {**trial, "BillableTimeInSeconds": job.get("BillableTimeInSeconds")}

    with ThreadPoolExecutor(_ASKED_TOGETHER) as pool:
        return list(pool.map(ask, trials))


def _state(trial: Mapping[str, Any]) -> str:
    metric = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    tuned = " ".join(f"{name}={value}" for name, value in trial["TunedHyperParameters"].items())
    result = f"; {metric['MetricName']}={metric['Value']:g}" if metric else ""
    return f"{trial['TrainingJobStatus']} ({tuned}){result}"


def resources_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The instances of each trial. The API has two names for them."""
    definition = job["TrainingJobDefinition"]
    return definition.get("HyperParameterTuningResourceConfig") or definition["ResourceConfig"]


def summary(job: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], price: Price | None) -> dict[str, Any]:
    """How a tuning job stands, as data without empty values: `leaderboard` has its trials, the best first."""
    config = job["HyperParameterTuningJobConfig"]
    objective = config["HyperParameterTuningJobObjective"]
    resources = resources_of(job)
    is_spot = job["TrainingJobDefinition"].get("EnableManagedSpotTraining", False)
    billed = [trial["BillableTimeInSeconds"] for trial in trials if trial["BillableTimeInSeconds"] is not None]
    values = {
        "tuning_job": job["HyperParameterTuningJobName"],
        "status": job["HyperParameterTuningJobStatus"],
        "reason": job.get("FailureReason"),
        "created": jobs.time(job.get("CreationTime")),
        "ended": jobs.time(job.get("HyperParameterTuningEndTime")),
        "objective": f"{objective['Type']} {objective['MetricName']}",
        "strategy": config["Strategy"],
        "instances": f"{resources['InstanceCount']} {resources['InstanceType']}{' (spot)' if is_spot else ''} a trial",
        "trials": f"{len(trials)} of {config['ResourceLimits']['MaxNumberOfTrainingJobs']}",
        "billable_seconds": sum(billed) if billed else None,
        "cost": price.cost(sum(billed), resources["InstanceCount"]) if price and billed else None,
        "price": f"{price.per_hour:g} an hour ({price.source})" if price and billed else None,
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
    """The leaderboard as lines of text, under a line of column names."""
    names = sorted({name for row in rows for name in row["hyperparameters"]})
    cells = [["trial", "status", "objective", "seconds", "cost", *names]]
    for row in rows:
        numbers = [row.get(name) for name in ("objective", "billable_seconds", "cost")]
        shown = ["-" if number is None else f"{number:g}" for number in numbers]
        cells.append([row["trial"], row["status"], *shown, *(row["hyperparameters"].get(name, "-") for name in names)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
