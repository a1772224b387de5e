"""Jobs in AWS, training and tuning jobs: start one and no second one, stop it, and say how it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher.aws import client as aws
from launcher.errors import LostContact, Refused
from launcher.plan.prices import Price
from launcher.plan.request import MAX_TUNING_NAME

#: What makes two requests the same job. A description lacks tags, and repeats metric definitions with more keys.
_IDENTITY = (
    "AlgorithmSpecification.TrainingImage",
    "AlgorithmSpecification.TrainingInputMode",
    "RoleArn",
    "HyperParameters",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "VpcConfig",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "Environment",
)

ENDED = {"Completed", "Failed", "Stopped"}


@dataclass(frozen=True)
class Kind:
    """A kind of job, as the API names it: what is called, the keys of name and status, what makes a job this job."""

    noun: str
    operation: str
    name: str
    status: str
    identity: Sequence[str]


TRAINING = Kind("job", "training_job", "TrainingJobName", "TrainingJobStatus", _IDENTITY)
TUNING = Kind(
    "tuning job",
    "hyper_parameter_tuning_job",
    "HyperParameterTuningJobName",
    "HyperParameterTuningJobStatus",
    (
        "HyperParameterTuningJobConfig",
        "TrainingJobDefinition.StaticHyperParameters",
        "TrainingJobDefinition.HyperParameterTuningResourceConfig",
        *(f"TrainingJobDefinition.{path}" for path in _IDENTITY if path not in ("HyperParameters", "ResourceConfig")),
    ),
)


def start(sagemaker: Any, request: Mapping[str, Any], kind: Kind = TRAINING) -> bool:
    """Create the job. Returns False when it was there already with this very request.

    The name decides: a try whose answer was lost may have created the job, and then the next one is told that the
    name is taken. Raises Refused when nothing was started, LostContact when that is not known.
    """
    name = request[kind.name]
    try:
        try:
            getattr(sagemaker, f"create_{kind.operation}")(**request)
            return True
        except ClientError as error:
            if aws.code_of(error) != "ResourceInUse":
                raise
        other = difference(request, _description(sagemaker, name, kind), kind)
    except (BotoCoreError, ClientError) as error:
        if aws.may_pass(error):
            raise LostContact(f"it is not known whether {kind.noun} {name} was started: {aws.explain(error)}") from None
        raise Refused(aws.explain(error)) from None
    if other:
        raise Refused(f"{kind.noun} {name} exists already, with another {other}; give another --job-name")
    return False


def _description(sagemaker: Any, name: str, kind: Kind) -> dict[str, Any]:
    return getattr(sagemaker, f"describe_{kind.operation}")(**{kind.name: name})


def difference(request: Mapping[str, Any], description: Mapping[str, Any], kind: Kind = TRAINING) -> str | None:
    """The first part in which a job differs from the request, or None."""
    for path in kind.identity:
        wanted: Any = request
        found: Any = description
        for key in path.split("."):
            wanted, found = (wanted or {}).get(key), (found or {}).get(key)
        if not _holds(found, wanted):
            return path
    return None


def _holds(found: Any, wanted: Any) -> bool:
    """Whether `found` is what was wanted, give or take what AWS fills in."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_holds(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_holds, found, wanted))
    return found == wanted or not (found or wanted)


def find(sagemaker: Any, name: str) -> tuple[Kind, dict[str, Any]]:
    """What AWS says of the training job or, if there is none, of the tuning job of this name. Raises Refused."""
    for kind in (TRAINING, TUNING) if len(name) <= MAX_TUNING_NAME else (TRAINING,):
        try:
            return kind, _description(sagemaker, name, kind)
        except (BotoCoreError, ClientError) as error:
            if not _is_missing(error):
                raise Refused(aws.explain(error)) from None
    region = sagemaker.meta.region_name
    raise Refused(f"there is no job {name} in {region}; `launch.py list` shows those there are, --region others")


def describe(sagemaker: Any, name: str) -> dict[str, Any]:
    """What AWS says of a training job. Raises Refused, also for the name of a tuning job."""
    kind, job = find(sagemaker, name)
    if kind is TUNING:
        raise Refused(f"{name} is a tuning job; `launch.py status {name}` names its trials, give one of them")
    return job


def stop(sagemaker: Any, name: str, kind: Kind = TRAINING) -> None:
    """Ask SageMaker to stop a job. Raises Refused, also for a job that has ended."""
    try:
        getattr(sagemaker, f"stop_{kind.operation}")(**{kind.name: name})
    except (BotoCoreError, ClientError) as error:
        status = find(sagemaker, name)[1][kind.status]
        if status in ENDED:
            raise Refused(f"{kind.noun} {name} cannot be stopped: it is {status} already") from None
        raise Refused(aws.explain(error)) from None


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ClientError) and (
        aws.code_of(error) == "ResourceNotFound" or "not found" in error.response["Error"].get("Message", "").lower()
    )


def newest(sagemaker: Any, base_name: str, limit: int) -> list[dict[str, Any]]:
    """The newest training and tuning jobs whose name has this in it."""
    found = []
    for kind, end in ((TRAINING, "TrainingEndTime"), (TUNING, "HyperParameterTuningEndTime")):
        pages = sagemaker.get_paginator(f"list_{kind.operation}s").paginate(
            NameContains=base_name,
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"MaxItems": limit, "PageSize": min(limit, 100)},
        )
        found += [
            (
                job["CreationTime"],
                {
                    "job": job[kind.name],
                    "kind": kind.operation,
                    "status": job[kind.status],
                    "created": time(job["CreationTime"]),
                    "ended": time(job.get(end)),
                },
            )
            for page in pages
            for job in page[f"{kind.name.removesuffix('Name')}Summaries"]
        ]
    found.sort(key=lambda entry: entry[0], reverse=True)
    return [job for _, job in found[:limit]]


def summary(job: Mapping[str, Any], price: Price | None) -> dict[str, Any]:
    """How a training job stands, as data without empty values. Times are ISO 8601.

    Billable time is in seconds of one instance at the price on demand; for spot instances it is less than the time
    they ran, and the difference is what spot saved.
    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
    """
    ran, billed = job.get("TrainingTimeInSeconds"), job.get("BillableTimeInSeconds")
    resources = job["ResourceConfig"]
    is_spot = job.get("EnableManagedSpotTraining", False)
    status = job["TrainingJobStatus"]
    values = {
        "job": job["TrainingJobName"],
        "status": status,
        "stage": job.get("SecondaryStatus"),
        "reason": job.get("FailureReason"),
        "created": time(job.get("CreationTime")),
        "started": time(job.get("TrainingStartTime")),
        "ended": time(job.get("TrainingEndTime")),
        "instances": f"{resources['InstanceCount']} {resources['InstanceType']}{' (spot)' if is_spot else ''}",
        "training_seconds": ran,
        "billable_seconds": billed,
        "spot_saving": round(1 - billed / ran, 3) if is_spot and ran and billed is not None else None,
        "cost": None if price is None or billed is None else price.cost(billed, resources["InstanceCount"]),
        "price": None if price is None or billed is None else f"{price.per_hour:g} an hour ({price.source})",
        "metrics": {metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", ())},
        "model": job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "output": output_archive(job) if status in ENDED else None,
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def output_archive(job: Mapping[str, Any]) -> str:
    """Where SageMaker puts what the job wrote beside its model: metrics and reports."""
    return f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}/output/output.tar.gz"


def time(value: datetime | None) -> str | None:
    """A time as ISO 8601."""
    return value.isoformat(timespec="seconds") if value else None
