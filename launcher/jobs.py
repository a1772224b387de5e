"""Training jobs in AWS: start one and no second one, stop it, and say how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher import aws
from launcher.errors import LostContact, Refused

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


def start(sagemaker: Any, request: Mapping[str, Any]) -> bool:
    """Create the job. Returns False when it was there already with this very request.

    The name decides: a try whose answer was lost may have created the job, and then the next one is told that the
    name is taken. Raises Refused when nothing was started, LostContact when that is not known.
    """
    name = request["TrainingJobName"]
    try:
        try:
            sagemaker.create_training_job(**request)
            return True
        except ClientError as error:
            if aws.code_of(error) != "ResourceInUse":
                raise
        other = difference(request, sagemaker.describe_training_job(TrainingJobName=name))
    except (BotoCoreError, ClientError) as error:
        if aws.may_pass(error):
            raise LostContact(f"it is not known whether job {name} was started: {aws.explain(error)}") from None
        raise Refused(aws.explain(error)) from None
    if other:
        raise Refused(f"job {name} exists already, with another {other}; give another --job-name")
    return False


def difference(request: Mapping[str, Any], description: Mapping[str, Any]) -> str | None:
    """The first part in which a job differs from the request, or None."""
    for path in _IDENTITY:
        wanted: Any = request
        found: Any = description
        for key in path.split("."):
            wanted, found = wanted.get(key), found.get(key)
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


def describe(sagemaker: Any, name: str) -> dict[str, Any]:
    """What AWS says of a job. Raises Refused."""
    try:
        return sagemaker.describe_training_job(TrainingJobName=name)
    except (BotoCoreError, ClientError) as error:
        raise _refusal(error, sagemaker, name) from None


def stop(sagemaker: Any, name: str) -> None:
    """Ask SageMaker to stop a job. Raises Refused, also for a job that has ended."""
    try:
        sagemaker.stop_training_job(TrainingJobName=name)
    except (BotoCoreError, ClientError) as error:
        status = describe(sagemaker, name)["TrainingJobStatus"]
        if status in ENDED:
            raise Refused(f"job {name} cannot be stopped: it is {status} already") from None
        raise _refusal(error, sagemaker, name) from None


def _refusal(error: BotoCoreError | ClientError, sagemaker: Any, name: str) -> Refused:
    if isinstance(error, ClientError) and "not found" in error.response["Error"].get("Message", "").lower():
        region = sagemaker.meta.region_name
        return Refused(f"there is no job {name} in {region}; `launch.py list` shows those there are, --region others")
    return Refused(aws.explain(error))


def newest(sagemaker: Any, base_name: str, limit: int) -> list[dict[str, Any]]:
    """The newest jobs whose name has this in it."""
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=base_name,
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"MaxItems": limit, "PageSize": min(limit, 100)},
    )
    return [
        {
            "job": job["TrainingJobName"],
            "status": job["TrainingJobStatus"],
            "created": _time(job.get("CreationTime")),
            "ended": _time(job.get("TrainingEndTime")),
        }
        for page in pages
        for job in page["TrainingJobSummaries"]
    ]


def summary(job: Mapping[str, Any], price: float | None) -> dict[str, Any]:
    """How a job stands, as data without empty values. Times are ISO 8601; `price` is of one instance hour.

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
        "created": _time(job.get("CreationTime")),
        "started": _time(job.get("TrainingStartTime")),
        "ended": _time(job.get("TrainingEndTime")),
        "instances": f"{resources['InstanceCount']} {resources['InstanceType']}{' (spot)' if is_spot else ''}",
        "training_seconds": ran,
        "billable_seconds": billed,
        "spot_saving": round(1 - billed / ran, 3) if is_spot and ran and billed is not None else None,
        "cost": None if price is None or billed is None else cost(billed, resources["InstanceCount"], price),
        "metrics": {metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", ())},
        "model": job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "output": output_archive(job) if status in ENDED else None,
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def cost(seconds: float, instance_count: int, price: float) -> float:
    """The price of so many seconds on so many instances."""
    return round(seconds / 3600 * instance_count * price, 4)


def output_archive(job: Mapping[str, Any]) -> str:
    """Where SageMaker puts what the job wrote beside its model: metrics and reports."""
    return f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}/output/output.tar.gz"


def _time(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None
