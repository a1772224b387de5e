"""The CreateTrainingJob request as plain data: no SDK, no network, no credentials.

`launch.py plan` prints it and `train` sends it; launcher/sdk.py makes the SDK's Estimator of it, for local mode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from text_classifier.contract.metric_names import metric_definitions

DEFAULT_BASE_JOB_NAME = "text-classification"
DEFAULT_INSTANCE_TYPE = "ml.g5.xlarge"
DEFAULT_VOLUME_GB = 30
DEFAULT_MAX_RUN_SECONDS = 24 * 60 * 60

#: Characters of a tuning job's name; the trials' names begin with it.
MAX_TUNING_NAME = 32

_ECR_REGISTRY = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/")


@dataclass(frozen=True)
class Spot:
    """Spot instances: how long to wait for them and to run, together, and where in S3 the checkpoints are kept.

    Without checkpoints a reclaimed job starts from nothing, and can cost more than on demand: there are always some.
    """

    max_wait_seconds: int
    checkpoints: str


@dataclass(frozen=True)
class Security:
    """Where the containers run and what is encrypted. By default: SageMaker's own network, and AWS's own keys."""

    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    is_network_isolated: bool = False
    encrypts_inter_container_traffic: bool = False
    kms_key: str | None = None
    volume_kms_key: str | None = None


def create_training_job(
    *,
    name: str,
    image: str,
    role: str,
    inputs: Mapping[str, str],
    output: str,
    hyperparameters: Mapping[str, str],
    input_mode: str = "File",
    instance_type: str = DEFAULT_INSTANCE_TYPE,
    instance_count: int = 1,
    volume_gb: int = DEFAULT_VOLUME_GB,
    keep_alive_seconds: int | None = None,
    max_run_seconds: int = DEFAULT_MAX_RUN_SECONDS,
    spot: Spot | None = None,
    security: Security | None = None,
    tags: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the request, with the keys that the SDK's Estimator sends. `inputs` maps channels to URIs.

    Without `spot` the job runs on demand.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
    """
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": input_mode,
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
    if keep_alive_seconds:
        request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = keep_alive_seconds
    if spot:
        request["EnableManagedSpotTraining"] = True
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = spot.max_wait_seconds
        request["CheckpointConfig"] = {"S3Uri": spot.checkpoints}
    if security:
        _secure(request, security)
    if tags:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    if environment:
        request["Environment"] = dict(environment)
    return request


def _secure(request: dict[str, Any], security: Security) -> None:
    if security.subnets:
        request["VpcConfig"] = {"Subnets": list(security.subnets), "SecurityGroupIds": list(security.security_groups)}
    if security.is_network_isolated:
        request["EnableNetworkIsolation"] = True
    if security.encrypts_inter_container_traffic:
        request["EnableInterContainerTrafficEncryption"] = True
    if security.kms_key:
        request["OutputDataConfig"]["KmsKeyId"] = security.kms_key
    if security.volume_kms_key:
        request["ResourceConfig"]["VolumeKmsKeyId"] = security.volume_kms_key


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


def tuning_job_name(base: str, now: datetime) -> str:
    """Make a name of at most MAX_TUNING_NAME characters that is unique to the second."""
    stamp = f"-{now:%y%m%d-%H%M%S}"
    return base[: MAX_TUNING_NAME - len(stamp)].rstrip("-") + stamp


def input_uri(bucket: str, base: str, content: str) -> str:
    """Say where a channel with this content (its hash) lies in S3, for all jobs that read it.

    It ends with a slash because S3Uri is a bare prefix: `data/12` would take in `data/123/` too.
    """
    return f"s3://{bucket}/{base}/data/{content}/"


def output_uri(bucket: str, base: str) -> str:
    """Say where results go: SageMaker appends `/<job name>/output/model.tar.gz`."""
    return f"s3://{bucket}/{base}"


def checkpoints_uri(bucket: str, base: str, name: str) -> str:
    """Say where the checkpoints of a job are kept: no other job's, below a prefix for the bucket's lifecycle rule."""
    return f"s3://{bucket}/checkpoints/{base}/{name}/"


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
