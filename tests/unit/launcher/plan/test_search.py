"""The CreateHyperParameterTuningJob request against the golden file, the SDK and the service model."""

import json
from pathlib import Path

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

import launcher.plan.request as requests
from launcher.plan import limits, search
from launcher.sdk import estimators
from text_classifier.contract.errors import UserError
from unit.launcher.plan.test_request import flat, full_request, on_demand, plain

# isort: split
# launcher.sdk.estimators must be imported before the SDK, which it configures.
from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter
from sagemaker.tuner import HyperparameterTuner

GOLDEN = Path(__file__).with_name("golden_tuning_request.json")

SEARCH = search.Search(
    ranges={
        "ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "1e-05", "MaxValue": "0.0001", "ScalingType": "Logarithmic"}
        ],
        "CategoricalParameterRanges": [{"Name": "train_batch_size", "Values": ["16", "32"]}],
        "IntegerParameterRanges": [{"Name": "seed", "MinValue": "1", "MaxValue": "9", "ScalingType": "Auto"}],
    },
    objective="validation_loss",
    max_jobs=12,
    max_parallel_jobs=3,
    strategy="Random",
    stops_early=True,
)
GRID = search.Search(
    ranges=SEARCH.ranges | {"ContinuousParameterRanges": [], "IntegerParameterRanges": []},
    objective="f1_macro",
    max_jobs=2,
    max_parallel_jobs=1,
    strategy="Grid",
    stops_early=False,
)


def test_request_is_the_golden_one():
    assert search.create_tuning_job(full_request(), SEARCH) == json.loads(GOLDEN.read_text())


class CapturingSession(estimators.Session):
    """Keeps the request instead of sending it."""

    def _intercept_create_request(self, request, create, func_name=None):
        self.sent = (func_name, request)

    def describe_tuning_job(self, job_name):
        return {"HyperParameterTuningJobStatus": "Completed"}


def tuner(request, job, session):
    """The HyperparameterTuner that sends this request, whose trials are like `job`."""
    config = request["HyperParameterTuningJobConfig"]
    objective, limits = config["HyperParameterTuningJobObjective"], config["ResourceLimits"]
    of_kind = config["ParameterRanges"]
    ranges = {entry["Name"]: CategoricalParameter(entry["Values"]) for entry in of_kind["CategoricalParameterRanges"]}
    for kind, parameter, number in (("Continuous", ContinuousParameter, float), ("Integer", IntegerParameter, int)):
        for entry in of_kind[f"{kind}ParameterRanges"]:
            low, high = number(entry["MinValue"]), number(entry["MaxValue"])
            ranges[entry["Name"]] = parameter(low, high, entry["ScalingType"])
    return HyperparameterTuner(
        estimators.from_request(job, session),
        objective["MetricName"],
        ranges,
        metric_definitions=job["AlgorithmSpecification"]["MetricDefinitions"],
        strategy=config["Strategy"],
        objective_type=objective["Type"],
        max_jobs=limits["MaxNumberOfTrainingJobs"],
        max_parallel_jobs=limits["MaxParallelTrainingJobs"],
        early_stopping_type=config["TrainingJobEarlyStoppingType"],
    )


@pytest.mark.parametrize("searched", [SEARCH, GRID], ids=["random", "grid"])
@pytest.mark.parametrize("change", [dict, on_demand, plain])
def test_tuner_sends_exactly_the_plain_data(change, searched):
    job = change(full_request())
    request = search.create_tuning_job(job, searched)
    session = CapturingSession(
        boto_session=boto3.Session(region_name="eu-west-1"), sagemaker_config=estimators.SDK_CONFIG
    )
    name = request["HyperParameterTuningJobName"]
    tuner(request, job, session).fit(estimators.inputs_of(job), job_name=name, include_cls_metadata=False, wait=False)
    function, sent = session.sent
    assert function == "create_tuning_job"
    expected, captured = flat(request), flat(sent)
    assert sorted(captured) == sorted(expected)
    for key, value in expected.items():
        assert captured[key] == value, key


@pytest.mark.parametrize("searched", [SEARCH, GRID], ids=["random", "grid"])
@pytest.mark.parametrize("change", [dict, on_demand, plain])
def test_request_is_valid_by_the_service_model(change, searched):
    service = botocore.session.Session().get_service_model("sagemaker")
    shape = service.operation_model("CreateHyperParameterTuningJob").input_shape
    request = search.create_tuning_job(change(full_request()), searched)
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    limits.check(request)
    with pytest.raises(UserError, match="--job-name is 33 characters long, but AWS allows 32; shorten it"):
        limits.check(request | {"HyperParameterTuningJobName": "a" * 33})


def test_what_may_be_chosen_is_what_the_service_knows():
    service = botocore.session.Session().get_service_model("sagemaker")
    assert set(search.STRATEGIES) <= set(service.shape_for("HyperParameterTuningJobStrategyType").enum)
    assert set(search.SCALINGS) == set(service.shape_for("HyperParameterScalingType").enum)
    assert service.shape_for("HyperParameterTuningJobName").metadata["max"] == requests.MAX_TUNING_NAME
