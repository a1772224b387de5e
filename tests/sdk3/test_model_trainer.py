"""The launcher's request, submitted by version 3 of the SageMaker SDK. Runs in build/sdk3, without version 2."""

from __future__ import annotations

import copy
import json
from typing import Any

import boto3
import pytest
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.shapes import (
    Channel,
    CheckpointConfig,
    DataSource,
    MetricDefinition,
    OutputDataConfig,
    S3DataSource,
    Tag,
)
from sagemaker.core.training.configs import Compute, Networking, StoppingCondition
from sagemaker.train import ModelTrainer

from support import ROOT
from support.sagemaker_stub import account

GOLDEN = json.loads((ROOT / "tests/unit/launcher/plan/golden_request.json").read_text())
TELEMETRY_OFF = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}

#: What docs/sdk-v3.md says of version 3.
CHOOSES_THE_NAME = {"TrainingJobName"}
CANNOT_SEND = {"ProfilerConfig"}


def trainer(request: dict[str, Any], session: Session, base_job_name: str) -> ModelTrainer:
    """The ModelTrainer of a request; docs/sdk-v3.md shows it."""
    algorithm, output = request["AlgorithmSpecification"], request["OutputDataConfig"]
    resources, stop, network = request["ResourceConfig"], request["StoppingCondition"], request["VpcConfig"]
    return ModelTrainer(
        training_image=algorithm["TrainingImage"],
        training_input_mode=algorithm["TrainingInputMode"],
        role=request["RoleArn"],
        base_job_name=base_job_name,
        hyperparameters=request["HyperParameters"],
        environment=request["Environment"],
        compute=Compute(
            instance_type=resources["InstanceType"],
            instance_count=resources["InstanceCount"],
            volume_size_in_gb=resources["VolumeSizeInGB"],
            volume_kms_key_id=resources["VolumeKmsKeyId"],
            enable_managed_spot_training=request["EnableManagedSpotTraining"],
        ),
        networking=Networking(
            subnets=network["Subnets"],
            security_group_ids=network["SecurityGroupIds"],
            enable_network_isolation=request["EnableNetworkIsolation"],
            enable_inter_container_traffic_encryption=request["EnableInterContainerTrafficEncryption"],
        ),
        stopping_condition=StoppingCondition(
            max_runtime_in_seconds=stop["MaxRuntimeInSeconds"], max_wait_time_in_seconds=stop["MaxWaitTimeInSeconds"]
        ),
        output_data_config=OutputDataConfig(s3_output_path=output["S3OutputPath"], kms_key_id=output["KmsKeyId"]),
        checkpoint_config=CheckpointConfig(s3_uri=request["CheckpointConfig"]["S3Uri"]),
        tags=[Tag(key=tag["Key"], value=tag["Value"]) for tag in request["Tags"]],
        sagemaker_session=session,
    ).with_metric_definitions(
        [MetricDefinition(name=metric["Name"], regex=metric["Regex"]) for metric in algorithm["MetricDefinitions"]]
    )


def channels(request: dict[str, Any]) -> list[Channel]:
    """The channels of a request."""
    sources = [(one["ChannelName"], one["DataSource"]["S3DataSource"]) for one in request["InputDataConfig"]]
    return [
        Channel(
            channel_name=name,
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type=source["S3DataType"],
                    s3_uri=source["S3Uri"],
                    s3_data_distribution_type=source["S3DataDistributionType"],
                )
            ),
        )
        for name, source in sources
    ]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The CreateTrainingJob request that version 3 sends for the golden one."""
    requests: list[dict[str, Any]] = []
    monkeypatch.setenv("SAGEMAKER_VALIDATE_ROLE", "false")  # moto has no iam:SimulatePrincipalPolicy
    with account(monkeypatch, "eu-west-1", "SAGEMAKER") as stub:
        answer = stub.answer

        def record(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            if operation == "CreateTrainingJob":
                requests.append(copy.deepcopy(request))
            return answer(operation, request)

        stub.answer = record  # type: ignore[method-assign]
        session = Session(boto3.Session(region_name="eu-west-1"), sagemaker_config=TELEMETRY_OFF)
        trainer(GOLDEN, session, "reviews").train(channels(GOLDEN), wait=False)
        assert len(stub.jobs) == 1
    [request] = requests
    return request


def test_version_3_sends_the_same_request_but_for_the_name_and_the_profiler(sent: dict[str, Any]) -> None:
    different = {key for key in sent.keys() | GOLDEN.keys() if sent.get(key) != GOLDEN.get(key)}
    assert different == CHOOSES_THE_NAME | CANNOT_SEND, {key: (sent.get(key), GOLDEN.get(key)) for key in different}
    assert sent["TrainingJobName"].startswith("reviews-")
    assert "ProfilerConfig" not in sent


def test_version_3_knows_no_profiler() -> None:
    """When this fails, the request can be sent as it is: see docs/sdk-v3.md."""
    assert not [name for name in ModelTrainer.model_fields if "profiler" in name]
