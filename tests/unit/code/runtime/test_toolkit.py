from __future__ import annotations

import json

import pytest

from text_classifier.runtime import toolkit


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("20261128", "20261128"), ('"20261128"', "20261128"), (20261128, "20261128"), ("my_job", "my_job"),
        ("null", ""), (None, ""), ("", ""), ('""', ""), ("true", "true"), (True, "true"), ('{"a": 1}', '{"a": 1}'),
    ],
)  # fmt: skip
def test_a_text_is_read_with_quotes_and_without(raw: object, text: str) -> None:
    assert toolkit.text(raw) == text


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("sagemaker_container_log_level", "20", 20),
        ("sagemaker_container_log_level", '"20"', 20),
        ("sagemaker_container_log_level", "warning", 30),
        ("sagemaker_region", "eu-west-1", "eu-west-1"),
        ("sagemaker_s3_output", "s3://bucket/x", "s3://bucket/x"),
        ("sagemaker_distribution_instance_groups", '["gpu"]', ["gpu"]),
        ("sagemaker_mpi_enabled", "true", True),
        ("epochs", "3", 3),
        ("names", '{"a": 1}', {"a": 1}),
        ("names", "{'a': 1}", "{'a': 1}"),
    ],
)
def test_a_valid_value_is_passed_on(name: str, raw: str, value: object) -> None:
    assert toolkit.hyperparameters({name: raw}) == {name: value}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("sagemaker_container_log_level", "loud"), ("sagemaker_region", "Europe!"), ("sagemaker_s3_output", "/tmp"),
        ("sagemaker_job_name", "a\0b"), ("sagemaker_distribution_instance_groups", "7"),
    ],
)  # fmt: skip
def test_a_value_of_no_use_is_left_out_with_a_line(name: str, raw: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert toolkit.hyperparameters({name: raw}) == {}
    assert capsys.readouterr().out.startswith(f"The hyperparameter {name} is ignored: ")


def test_null_is_left_out_without_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert toolkit.hyperparameters(json.loads('{"sagemaker_job_name": null, "sagemaker_region": "null"}')) == {}
    assert capsys.readouterr().out == ""


def test_the_toolkits_own_failure_is_told_from_others() -> None:
    trace = (
        'Traceback (most recent call last):\n  File "x.py", line 1\nTypeError: str expected, not int\n\nstr expected'
    )
    assert toolkit.own_failure(f"Framework Error: \n{trace}") == "TypeError: str expected, not int"
    assert toolkit.own_failure("Your data: x") is None
