"""Jobs on SageMaker, of training, tuning and transform: start exactly once, describe, list and stop."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher.aws import client
from launcher.errors import LostContact, Refused
from launcher.plan import submission
from launcher.plan.prices import Price
from launcher.plan.request import MAX_TUNING_NAME
from text_classifier.contract.errors import UserError

#: The parts of a request that identify a job. Descriptions lack tags, and have metric definitions with more keys.
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
    """A kind of resource: its API operations, the keys of its name and status, and the parts that identify it."""

    noun: str
    operation: str
    name: str
    status: str
    identity: Sequence[str]
    #: The flag that sets the name.
    flag: str = "--job-name"
    #: The log group of a kind of job whose containers have one in common.
    log_group: str = ""


TRAINING = Kind(
    "job",
    "training_job",
    "TrainingJobName",
    "TrainingJobStatus",
    _IDENTITY,
    log_group="/aws/sagemaker/TrainingJobs",
)
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

TRANSFORM = Kind(
    "transform job",
    "transform_job",
    "TransformJobName",
    "TransformJobStatus",
    (
        "ModelName",
        "TransformInput",
        "TransformOutput",
        "TransformResources",
        "BatchStrategy",
        "MaxPayloadInMB",
        "Environment",
    ),
    flag="--name",
    log_group="/aws/sagemaker/TransformJobs",
)

#: In the order in which a name is looked for.
KINDS = (TRAINING, TUNING, TRANSFORM)


def sagemaker_of(options: argparse.Namespace) -> Any:
    """A client for SageMaker in the region of the options."""
    return client.create("sagemaker", submission.region_of(options))


def start(sagemaker: Any, request: Mapping[str, Any], kind: Kind = TRAINING) -> bool:
    """Create the job (or another resource). Returns False if one with this name and request already exists.

    Retries are safe because names are unique: if the response to a successful request is lost, the retry fails with
    "name in use". Raises Refused if nothing was started, LostContact if that is unknown.
    """
    name = request[kind.name]
    try:
        try:
            _create(sagemaker, request, kind)
            return True
        except ClientError as error:
            if not _is_taken(error):
                raise
        other = difference(request, description(sagemaker, name, kind), kind)
    except (BotoCoreError, ClientError) as error:
        if client.is_transient(error):
            raise LostContact(
                f"it is unknown whether {kind.noun} {name} was started: {client.explain(error)}"
            ) from None
        raise Refused(client.explain(error)) from None
    if other:
        raise Refused(f"{kind.noun} {name} already exists with a different {other}; give another {kind.flag}")
    return False


def _create(sagemaker: Any, request: Mapping[str, Any], kind: Kind) -> None:
    """A training job through the Estimator that local mode uses too; without version 2 of the SDK, and a tuning job,
    through boto3 with the same request."""
    if kind is TRAINING and (estimators := sdk_estimators()):
        session = estimators.session(client.session_in(sagemaker.meta.region_name), sagemaker)
        estimators.fit(request, session, wait=False)
    else:
        getattr(sagemaker, f"create_{kind.operation}")(**request)


def sdk_estimators() -> ModuleType | None:
    """launcher.sdk.estimators, whose import takes seconds; None without version 2 of the SDK."""
    try:
        from launcher.sdk import estimators
    except UserError:
        return None
    return estimators


def _is_taken(error: ClientError) -> bool:
    """Whether the name is in use. Models and endpoints have no error code of their own for that."""
    return client.code_of(error) == "ResourceInUse" or "already existing" in error.response["Error"].get("Message", "")


def description(sagemaker: Any, name: str, kind: Kind) -> dict[str, Any]:
    """AWS's description of a resource. Raises boto3's exceptions."""
    return getattr(sagemaker, f"describe_{kind.operation}")(**{kind.name: name})


def difference(request: Mapping[str, Any], existing: Mapping[str, Any], kind: Kind = TRAINING) -> str | None:
    """The first part in which a job differs from the request; None if it is the same job."""
    for path in kind.identity:
        wanted: Any = request
        found: Any = existing
        for key in path.split("."):
            wanted, found = (wanted or {}).get(key), (found or {}).get(key)
        if not _matches(found, wanted):
            return path
    return None


def _matches(existing: Any, requested: Any) -> bool:
    """Whether `existing` has all requested values. AWS adds defaults to descriptions."""
    if isinstance(requested, dict) and isinstance(existing, dict):
        return all(_matches(existing.get(key), value) for key, value in requested.items())
    if isinstance(requested, list) and isinstance(existing, list):
        return len(requested) == len(existing) and all(map(_matches, existing, requested))
    return existing == requested or not (existing or requested)


def find(sagemaker: Any, name: str, kinds: Sequence[Kind] = KINDS) -> tuple[Kind, dict[str, Any]]:
    """The kind and the description of the job with this name, of the first kind that has one. Raises Refused."""
    for kind in kinds:
        if kind is TUNING and len(name) > MAX_TUNING_NAME:
            continue
        try:
            return kind, description(sagemaker, name, kind)
        except (BotoCoreError, ClientError) as error:
            if not is_missing(error):
                raise Refused(client.explain(error)) from None
    region = sagemaker.meta.region_name
    raise Refused(
        f"there is no job {name} in {region}; `launch.py list --region {region}` shows existing jobs, --region selects "
        "another region"
    )


def describe(sagemaker: Any, name: str) -> dict[str, Any]:
    """The description of a training job. Raises Refused, also for the name of another kind of job."""
    kind, job = find(sagemaker, name)
    if kind is TRANSFORM:
        scores = job["TransformOutput"]["S3OutputPath"]
        raise Refused(f"{name} is a transform job, whose scores are in {scores}; give the name of a training job")
    refuse_tuning(name, kind, sagemaker.meta.region_name)
    return job


def refuse_tuning(name: str, kind: Kind, region: str) -> None:
    """Raise Refused for a tuning job: its trials have what a training job has."""
    if kind is TUNING:
        raise Refused(
            f"{name} is a tuning job; give the name of one of its trials, see `launch.py status {name} --region "
            f"{region}`"
        )


def stop(sagemaker: Any, name: str, kind: Kind = TRAINING) -> None:
    """Request that SageMaker stop a job. Raises Refused, also for a job that has ended."""
    try:
        getattr(sagemaker, f"stop_{kind.operation}")(**{kind.name: name})
    except (BotoCoreError, ClientError) as error:
        status = find(sagemaker, name, [kind])[1][kind.status]
        if status in ENDED:
            raise Refused(f"{kind.noun} {name} cannot be stopped: it is already {status}") from None
        raise Refused(client.explain(error)) from None


def is_missing(error: Exception) -> bool:
    """Whether AWS says that there is no such resource."""
    if not isinstance(error, ClientError):
        return False
    message = error.response["Error"].get("Message", "").lower()
    return client.code_of(error) == "ResourceNotFound" or "not found" in message or "could not find" in message


def newest(sagemaker: Any, base_name: str, limit: int) -> list[dict[str, Any]]:
    """The newest jobs of all kinds whose name contains `base_name`."""
    found = []
    ends = {TRAINING: "TrainingEndTime", TUNING: "HyperParameterTuningEndTime", TRANSFORM: "TransformEndTime"}
    for kind, end in ends.items():
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
                    "created": iso_time(job["CreationTime"]),
                    "ended": iso_time(job.get(end)),
                },
            )
            for page in pages
            for job in page[f"{kind.name.removesuffix('Name')}Summaries"]
        ]
    found.sort(key=lambda entry: entry[0], reverse=True)
    return [job for _, job in found[:limit]]


def summary(job: Mapping[str, Any], price: Price | None) -> dict[str, Any]:
    """The state of a training job as data, without empty values. Times are ISO 8601.

    Billable time is in seconds of one instance at the on-demand price; for spot instances it is less than the training
    time, and the difference is the saving.
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
        "created": iso_time(job.get("CreationTime")),
        "started": iso_time(job.get("TrainingStartTime")),
        "ended": iso_time(job.get("TrainingEndTime")),
        "instances": f"{resources['InstanceCount']} {resources['InstanceType']}{' (spot)' if is_spot else ''}",
        "training_seconds": ran,
        "billable_seconds": billed,
        "spot_saving": round(1 - billed / ran, 3) if is_spot and ran and billed is not None else None,
        "cost": None if price is None or billed is None else price.cost(billed, resources["InstanceCount"]),
        "price": None if price is None or billed is None else f"{price.per_hour:g} per hour ({price.source})",
        "metrics": {metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", ())},
        "model": job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "output": output_archive(job) if status in ENDED else None,
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def output_archive(job: Mapping[str, Any]) -> str:
    """The S3 URI of the archive with metrics and reports."""
    return f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}/output/output.tar.gz"


def iso_time(value: datetime | None) -> str | None:
    """A time in ISO 8601, to the second."""
    return value.isoformat(timespec="seconds") if value else None
