"""The generic Estimator of a CreateTrainingJob request, in local mode and on SageMaker.

The request of launcher/plan/request.py is plain data, and the only input: `from_request` is the one place that knows
which argument of the Estimator makes which key.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from text_classifier.contract.errors import UserError

os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
logging.disable(logging.INFO)  # the SDK logs during its import

try:
    import boto3
    import sagemaker.utils
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput
    from sagemaker.session import Session
except ImportError as error:
    raise UserError(
        f"{error.name} is not installed in this Python; run `make venv` and use .venv/bin/python launch.py"
    ) from None
finally:
    logging.disable(logging.NOTSET)
logging.getLogger("sagemaker.config").setLevel(logging.WARNING)  # it announces each default that it looks up

__all__ = ["SDK_CONFIG", "Estimator", "Session", "TrainingInput", "fit", "from_request", "inputs_of", "session"]

#: For every session: no telemetry, and no defaults from configuration files of the SDK.
SDK_CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}

#: Where this is set and the job is network-isolated, `fit` waits for the job in spite of wait=False.
_MLFLOW = "MLFLOW_TRACKING_URI"


def _skip_validation(sagemaker_config: dict[Any, Any] | None = None) -> None:
    """Replaces the SDK's validation of its configuration, which runs at each access: 20 times, 4 s in all.

    The validation at the creation of the session stays.
    """


vars(sagemaker.utils).update(validate_sagemaker_config=_skip_validation)


def session(boto_session: boto3.Session, client: Any) -> Session:
    """A session of the SDK that creates jobs with this SageMaker client."""
    return Session(boto_session=boto_session, sagemaker_client=client, sagemaker_config=SDK_CONFIG)


def from_request(
    request: Mapping[str, Any], session: Session, kind: type[Estimator] = Estimator, **more: Any
) -> Estimator:
    """The Estimator, of this `kind`, whose `fit(inputs_of(request), job_name=...)` sends exactly this request.

    `more` are arguments of the Estimator that no request has, such as `base_job_name`. With a LocalSession the job runs
    in containers on this machine. Local mode refuses spot instances and checkpoints, and ignores what only a service
    can do: metrics, networks, keys and tags.
    """
    algorithm, resources, stop = (
        request["AlgorithmSpecification"],
        request["ResourceConfig"],
        request["StoppingCondition"],
    )
    vpc = request.get("VpcConfig", {})
    return kind(
        image_uri=algorithm["TrainingImage"],
        role=request["RoleArn"],
        instance_count=resources["InstanceCount"],
        instance_type=resources["InstanceType"],
        keep_alive_period_in_seconds=resources.get("KeepAlivePeriodInSeconds"),
        volume_size=resources["VolumeSizeInGB"],
        volume_kms_key=resources.get("VolumeKmsKeyId"),
        max_run=stop["MaxRuntimeInSeconds"],
        max_wait=stop.get("MaxWaitTimeInSeconds"),
        use_spot_instances=request.get("EnableManagedSpotTraining", False),
        checkpoint_s3_uri=request.get("CheckpointConfig", {}).get("S3Uri"),
        input_mode=algorithm["TrainingInputMode"],
        output_path=request["OutputDataConfig"]["S3OutputPath"],
        output_kms_key=request["OutputDataConfig"].get("KmsKeyId"),
        hyperparameters=request.get("HyperParameters"),
        metric_definitions=algorithm["MetricDefinitions"],
        subnets=vpc.get("Subnets"),
        security_group_ids=vpc.get("SecurityGroupIds"),
        enable_network_isolation=request.get("EnableNetworkIsolation", False),
        encrypt_inter_container_traffic=request.get("EnableInterContainerTrafficEncryption", False),
        tags=request.get("Tags"),
        environment=request.get("Environment"),
        debugger_hook_config=False,
        disable_profiler=request["ProfilerConfig"]["DisableProfiler"],
        sagemaker_session=session,
        **more,
    )


def inputs_of(request: Mapping[str, Any]) -> dict[str, TrainingInput]:
    """The channels of a request, as `fit` takes them."""
    channels = request["InputDataConfig"]
    return {channel["ChannelName"]: _input(channel["DataSource"]["S3DataSource"]) for channel in channels}


def _input(source: Mapping[str, str]) -> TrainingInput:
    return TrainingInput(
        source["S3Uri"], s3_data_type=source["S3DataType"], distribution=source["S3DataDistributionType"]
    )


def fit(request: Mapping[str, Any], session: Session, wait: bool) -> None:
    """Create the job of a request; with `wait`, follow it to its end. Raises what boto3 and the SDK raise."""
    logging.getLogger("sagemaker").setLevel(logging.CRITICAL)  # the SDK logs the errors that it raises
    estimator = from_request(request, session)
    # Without the SDK's decorator for telemetry, which swallows Ctrl-C: it returns from its `finally`.
    create = Estimator.fit.__wrapped__
    with _without(_MLFLOW):
        create(estimator, inputs_of(request), job_name=request["TrainingJobName"], wait=wait)


@contextlib.contextmanager
def _without(variable: str) -> Iterator[None]:
    """Hide an environment variable."""
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value
