"""The CreateTrainingJob request as plain data: no SDK, no network, no credentials.

`launch.py plan` prints it; launcher/sdk/estimators.py makes the Estimator of it, which `local` and `train` run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from text_classifier.contract.hyperparameters import TABLE
from text_classifier.contract.metric_names import BY_TASK, LOSSES, metric_definitions

DEFAULT_BASE_JOB_NAME = "text-classification"
DEFAULT_INSTANCE_TYPE = "ml.g5.xlarge"
DEFAULT_VOLUME_GB = 30
DEFAULT_MAX_RUN_SECONDS = 24 * 60 * 60

#: Maximum length of a tuning job's name, which is the prefix of its trials' names.
MAX_TUNING_NAME = 32

#: The host of a registry in ECR, in every partition of AWS, with FIPS and dual-stack names.
#: Source: https://docs.aws.amazon.com/general/latest/gr/ecr.html
ECR_HOST = re.compile(
    r"(?P<account>\d{12})\.(?:"
    r"dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?:amazonaws\.(?:com|com\.cn|eu)|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
    r"|dkr-ecr(?:-fips)?\.(?P<dual_stack_region>[a-z0-9-]+)\.on\.(?:aws|amazonwebservices\.(?:com\.cn|eu)))"
)

#: The partitions of AWS other than `aws`, by the beginning of their regions' names.
_PARTITIONS = {
    "cn-": "aws-cn", "eusc-": "aws-eusc", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e", "us-isof-": "aws-iso-f",
}  # fmt: skip


@dataclass(frozen=True)
class Spot:
    """Spot instances: the maximum time to wait and run, and the S3 URI of the checkpoints.

    Checkpoints are not optional: without them a reclaimed job starts over and can cost more than on demand.
    """

    max_wait_seconds: int
    checkpoints: str


@dataclass(frozen=True)
class Security:
    """Network and encryption. By default SageMaker's network and AWS's keys."""

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
    distribution: str = "FullyReplicated",
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
    """The request, with the same keys that the SDK's Estimator sends. `inputs` maps channels to URIs.

    `distribution` is that of the training data; each host gets all of the other channels. Without `spot` the job runs
    on demand.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
    """
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": input_mode,
            "MetricDefinitions": _metric_definitions(hyperparameters),
        },
        "RoleArn": role,
        "InputDataConfig": [
            _channel(channel, uri, distribution if channel == "train" else "FullyReplicated")
            for channel, uri in inputs.items()
        ],
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


def _metric_definitions(hyperparameters: Mapping[str, str]) -> list[dict[str, str]]:
    """Those of the task; the job prints no others."""
    default = next(row.default for row in TABLE if row.name == "task")
    reported = (*LOSSES, *BY_TASK[hyperparameters.get("task", default)])
    return [definition for definition in metric_definitions() if definition["Name"] in reported]


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


def _channel(name: str, uri: str, distribution: str) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": distribution,
            }
        },
    }


def job_name(base: str, now: datetime) -> str:
    """A name with a time stamp in milliseconds."""
    return f"{base}-{now:%Y-%m-%d-%H-%M-%S}-{now.microsecond // 1000:03d}"


def tuning_job_name(base: str, now: datetime) -> str:
    """A name of at most MAX_TUNING_NAME characters with a time stamp in seconds."""
    stamp = f"-{now:%y%m%d-%H%M%S}"
    return base[: MAX_TUNING_NAME - len(stamp)].rstrip("-") + stamp


def input_uri(bucket: str, base: str, content_hash: str) -> str:
    """The S3 URI of a channel, shared by all jobs with the same content.

    It ends with a slash because S3Uri is a prefix: `data/12` would match `data/123/` too.
    """
    return f"s3://{bucket}/{base}/data/{content_hash}/"


def output_uri(bucket: str, base: str) -> str:
    """The S3 URI of the results, to which SageMaker appends `/<job name>/output/model.tar.gz`."""
    return f"s3://{bucket}/{base}"


def checkpoints_uri(bucket: str, base: str, name: str) -> str:
    """The S3 URI of this job's checkpoints, below the prefix that the bucket's lifecycle rule expires."""
    return f"s3://{bucket}/checkpoints/{base}/{name}/"


def region_of_host(host: str) -> str | None:
    """The region of a registry's host in ECR; None for other registries."""
    match = ECR_HOST.fullmatch(host)
    return (match["region"] or match["dual_stack_region"]) if match else None


def region_of_image(image: str) -> str | None:
    """The region in an ECR image URI; None for other registries."""
    host, slash, _ = image.partition("/")
    return region_of_host(host) if slash else None


def partition_of(region: str) -> str:
    """The partition of AWS that a region is in, as in the ARNs there."""
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def account_of_role(role: str) -> str:
    """The account number in the ARN of a role."""
    return role.split(":")[4]


def default_bucket(region: str, role: str) -> str:
    """SageMaker's default bucket in the account of the role."""
    return f"sagemaker-{region}-{account_of_role(role)}"
