"""The CreateHyperParameterTuningJob request against the golden file, the SDK and the service model."""

import argparse
import itertools
import json
import random
from pathlib import Path

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

import launcher.plan.request as requests
from launcher.plan import limits, search
from launcher.sdk import estimators
from text_classifier.contract import parsing
from text_classifier.contract.errors import SettingsError, UserError
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


def from_ranges(ranges, **hyperparameters):
    """The search of these ranges."""
    options = argparse.Namespace(
        ranges=ranges, hyperparameters=hyperparameters, keep_alive=0, strategy="Random", objective=None,
        max_jobs=None, max_parallel_jobs=1, early_stopping=False,
    )  # fmt: skip
    return search.from_options(options)


#: Values of which some exclude one another.
CHOICES = {
    "truncation": ["head", "tail"],
    "long_texts": ["truncate", "mean"],
    "window_stride": ["32", "100"],
    "max_sequence_length": ["5", "64", "128"],
    "text_columns": ["", "premise"],
    "text_pair_columns": ["", "hypothesis"],
    "early_stopping_patience": ["0", "2"],
    "early_stopping_min_delta": ["0", "0.1"],
    "label_columns": ["", "a,b"],
    "label_column": ["", "a"],
    "columns": ["", "a,b"],
    "has_header": ["true", "false"],
    "label_smoothing": ["0", "0.1"],
    "focal_gamma": ["0", "1"],
    "class_weights": ["none", "balanced"],
    "thresholds": ["0.5", "fitted"],
    "cross_validation": ["0", "1", "3"],
    "epochs": ["1", "2"],
}


def works(ranges, given, values):
    """Whether a trial with these values has settings."""
    try:
        parsing.parse({**given, **dict(zip(ranges, values, strict=True))})
    except SettingsError:
        return False
    return True


@pytest.mark.parametrize("is_valid", [True, False])
def test_a_search_is_refused_if_a_combination_of_all_its_values_is(is_valid):
    chosen, searches = random.Random(1), 0
    while searches < 40:
        ranges = {name: chosen.sample(CHOICES[name], 2) for name in chosen.sample(sorted(CHOICES), 5)}
        given = {name: chosen.choice(CHOICES[name]) for name in chosen.sample(sorted({*CHOICES} - {*ranges}), 2)}
        if all(works(ranges, given, values) for values in itertools.product(*ranges.values())) is not is_valid:
            continue
        searches += 1
        if is_valid:
            assert from_ranges(ranges, **given).names == list(ranges)
        else:
            with pytest.raises(UserError, match="^ranges: a trial with .* would fail: "):
                from_ranges(ranges, **given)


def test_a_large_search_is_judged_at_once():
    """Only the values of each three hyperparameters are combined."""
    lists = {name: [str(number) for number in range(1, 21)] for name in ("epochs", "train_batch_size", "seed")}
    numbers = {name: {"min": "0.1", "max": "0.9"} for name in ("learning_rate", "weight_decay", "adam_epsilon")}
    assert from_ranges({**lists, **numbers}).max_jobs == search.DEFAULT_MAX_JOBS
