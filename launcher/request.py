"""The CreateTrainingJob request as plain data: no SDK, no network, no credentials.

`launch.py plan` prints it, and launcher/sdk.py hands the same data to the SDK's Estimator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metrics import metric_definitions

DEFAULT_BASE_JOB_NAME = "text-classification"
DEFAULT_INSTANCE_TYPE = "ml.g5.xlarge"
DEFAULT_VOLUME_GB = 30
DEFAULT_MAX_RUN_SECONDS = 24 * 60 * 60

_ECR_REGISTRY = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/")


@dataclass(frozen=True)
class Spot:
    """Spot instances: how long to wait for them and to run, together, and where in S3 the checkpoints are kept.

    Without checkpoints a reclaimed job starts from nothing, and can cost more than on demand: there are always some.
    """

    max_wait_seconds: int
    checkpoints: str


def create_training_job(
    *,
    name: str,
    image: str,
    role: str,
    inputs: Mapping[str, str],
    output: str,
    hyperparameters: Mapping[str, str],
    instance_type: str = DEFAULT_INSTANCE_TYPE,
    instance_count: int = 1,
    volume_gb: int = DEFAULT_VOLUME_GB,
    max_run_seconds: int = DEFAULT_MAX_RUN_SECONDS,
    spot: Spot | None = None,
) -> dict[str, Any]:
    """Return the request, with the keys that the SDK's Estimator sends. `inputs` maps channels to URIs.

    Without `spot` the job runs on demand.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
    """
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": metric_definitions(),
        },
        "RoleArn": role,
        "InputDataConfig": [_channel(channel, uri) for channel, uri in inputs.items()],
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {
            "InstanceType": instance_type,
            "InstanceCount": instance_count,
            "VolumeSizeInGB": volume_gb,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": max_run_seconds},
        "ProfilerConfig": {"DisableProfiler": True},
    }
    if hyperparameters:
        request["HyperParameters"] = dict(hyperparameters)
    if spot:
        request["EnableManagedSpotTraining"] = True
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = spot.max_wait_seconds
        request["CheckpointConfig"] = {"S3Uri": spot.checkpoints}
    return request


def _channel(name: str, uri: str) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
    }


def job_name(base: str, now: datetime) -> str:
    """Make a name that is unique to the millisecond."""
    return f"{base}-{now:%Y-%m-%d-%H-%M-%S}-{now.microsecond // 1000:03d}"


def input_uris(bucket: str, base: str, name: str, channels: Iterable[str]) -> dict[str, str]:
    """Say where the channels of a job lie in S3.

    They end with a slash because S3Uri is a bare prefix: `input/train` would take in `input/train-old/` too.
    """
    return {channel: f"s3://{bucket}/{base}/{name}/input/{channel}/" for channel in channels}


def output_uri(bucket: str, base: str) -> str:
    """Say where results go: SageMaker appends `/<job name>/output/model.tar.gz`, beside the job's input."""
    return f"s3://{bucket}/{base}"


def checkpoints_uri(bucket: str, base: str, name: str) -> str:
    """Say where the checkpoints of a job are kept: beside its input and output, and no other job's."""
    return f"s3://{bucket}/{base}/{name}/checkpoints/"


def region_of_image(image: str) -> str | None:
    """The region in an ECR image URI, or None for other registries."""
    match = _ECR_REGISTRY.match(image)
    return match["region"] if match else None


def account_of_role(role: str) -> str:
    """The account number in the ARN of a role."""
    return role.split(":")[4]


def default_bucket(region: str, role: str) -> str:
    """The bucket that the SDK would take for the account of the role."""
    return f"sagemaker-{region}-{account_of_role(role)}"
