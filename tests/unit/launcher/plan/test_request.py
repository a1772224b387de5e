"""The CreateTrainingJob request against the golden file, the SDK and the service model."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

import launcher.plan.request as requests
from launcher.plan import checks, limits
from launcher.sdk import estimators
from text_classifier.contract import metric_names as metrics

GOLDEN = Path(__file__).with_name("golden_request.json")
DIGEST = "sha256:" + "0123456789abcdef" * 4
ROLE = "arn:aws:iam::123456789012:role/service-role/training"


def full_request():
    """A request in which every argument differs from its default."""
    bucket, base, name = "my-bucket", "reviews", "reviews-2026-11-22"
    return requests.create_training_job(
        name=name,
        image=f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-text-classification@{DIGEST}",
        role=ROLE,
        inputs={
            channel: requests.input_uri(bucket, base, str(digit) * 32)
            for digit, channel in enumerate(("train", "validation", "test", "model"))
        },
        output=requests.output_uri(bucket, base),
        hyperparameters={"epochs": "2", "learning_rate": "5e-5", "label_map": "1,2,3=negative;4,5=positive"},
        instance_type="ml.g6.xlarge",
        instance_count=2,
        volume_gb=50,
        max_run_seconds=7200,
        input_mode="FastFile",
        spot=requests.Spot(10800, requests.checkpoints_uri(bucket, base, name)),
        security=requests.Security(
            subnets=("subnet-1", "subnet-2"),
            security_groups=("sg-1",),
            is_network_isolated=True,
            encrypts_inter_container_traffic=True,
            kms_key="alias/result",
            volume_kms_key="alias/disk",
        ),
        tags={"team": "reviews", "stage": "test"},
        environment={"HF_HOME": "/tmp/hub"},
    )


def flat(value, path=""):
    """Every leaf of nested data by its path."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {k: v for index, item in enumerate(value) for k, v in flat(item, f"{path}[{index}]").items()}
    return {path: value}


def test_request_is_the_golden_one():
    assert full_request() == json.loads(GOLDEN.read_text())


def on_demand(request):
    """The same request without spot instances."""
    left = {key: request[key] for key in request.keys() - {"EnableManagedSpotTraining", "CheckpointConfig"}}
    return left | {"StoppingCondition": {"MaxRuntimeInSeconds": 7200}}


def warm_pool(request):
    """The same request on demand, with a warm pool."""
    request = on_demand(request)
    return request | {"ResourceConfig": request["ResourceConfig"] | {"KeepAlivePeriodInSeconds": 1800}}


def plain(request):
    """The same request with defaults only."""
    request = on_demand(request)
    security = {"VpcConfig", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "Tags", "Environment"}
    left = {key: request[key] for key in request.keys() - security}
    left["OutputDataConfig"] = {"S3OutputPath": request["OutputDataConfig"]["S3OutputPath"]}
    left["ResourceConfig"] = {k: v for k, v in request["ResourceConfig"].items() if k != "VolumeKmsKeyId"}
    return left


@pytest.mark.parametrize("change", [dict, on_demand, warm_pool, plain])
@pytest.mark.parametrize("hyperparameters", [{"epochs": "2"}, {}])
def test_estimator_sends_exactly_the_plain_data(hyperparameters, change):
    sent = {}

    class CapturingSession(estimators.Session):
        def _intercept_create_request(self, request, create, func_name=None):
            sent[func_name] = request

        def logs_for_job(self, *arguments, **options):
            """There is no job to follow."""

    request = change(full_request()) | {"HyperParameters": hyperparameters}
    if not hyperparameters:
        del request["HyperParameters"]
    session = CapturingSession(
        boto_session=boto3.Session(region_name="eu-west-1"), sagemaker_config=estimators.SDK_CONFIG
    )
    estimators.fit(request, session, wait=True)
    assert list(sent) == ["train"]
    expected, captured = flat(request), flat(sent["train"])
    assert sorted(captured) == sorted(expected)
    for key, value in expected.items():
        assert captured[key] == value, key


@pytest.mark.parametrize("change", [dict, on_demand, warm_pool, plain])
def test_request_is_valid_by_the_service_model(change):
    service = botocore.session.Session().get_service_model("sagemaker")
    shape = service.operation_model("CreateTrainingJob").input_shape
    request = change(full_request())
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    limits.check(request)


def test_default_instance_type_is_known_to_the_service():
    service = botocore.session.Session().get_service_model("sagemaker")
    assert requests.DEFAULT_INSTANCE_TYPE in service.shape_for("TrainingInstanceType").enum


@pytest.mark.parametrize("number", [4.9e-05, float("nan"), float("inf"), -1.5, 0.0, 1.0, 0.8765, 1e20])
@pytest.mark.parametrize("task", metrics.BY_TASK)
def test_metric_definitions_find_every_number_that_the_job_prints(task, number):
    reported = [name for name in metrics.REPORTED if name in (*metrics.LOSSES, *metrics.BY_TASK[task])]
    line = f"12:30 INFO {metrics.line(2, 170, dict.fromkeys(reported, number))}"
    definitions = requests._metric_definitions({"task": task})
    assert [definition["Name"] for definition in definitions] == reported
    for definition in definitions:
        found = re.findall(definition["Regex"], line)
        assert found == [f"{number:.6g}"], definition["Name"]


def test_metric_definitions_do_not_take_one_metric_for_another():
    values = {name: float(position) for position, name in enumerate(metrics.REPORTED)}
    line = metrics.line(1, 1, values)
    for definition in (each for task in metrics.BY_TASK for each in requests._metric_definitions({"task": task})):
        assert re.findall(definition["Regex"], line) == [f"{values[definition['Name']]:.6g}"]


def test_job_names_are_allowed_and_differ_within_a_second():
    first, second = (
        requests.job_name(requests.DEFAULT_BASE_JOB_NAME, datetime(2026, 11, 22, 9, 5, 7, microsecond, tzinfo=UTC))
        for microsecond in (4000, 5000)
    )
    assert first == "text-classification-2026-11-22-09-05-07-004"
    assert first != second
    checks.job_name(first)


@pytest.mark.parametrize(
    ("image", "region"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/name@" + DIGEST, "eu-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/name:tag", "cn-north-1"),
        ("localhost:5000/name:tag", None),
        ("name:tag", None),
    ],
)
def test_region_of_image(image, region):
    assert requests.region_of_image(image) == region


def test_default_bucket_is_the_one_of_the_sdk():
    assert requests.default_bucket("eu-west-1", ROLE) == "sagemaker-eu-west-1-123456789012"
