from __future__ import annotations

import re

import pytest

from text_classifier.contract import metric_names as metrics


@pytest.mark.parametrize("value", [0.875, 4.9e-05, -1.5, float("nan"), float("inf"), 1.0, 0.0, 1e20])
def test_each_definition_finds_its_own_value_in_the_line(value: float) -> None:
    line = metrics.line(3, 120, dict.fromkeys(metrics.REPORTED, value))
    for definition in metrics.metric_definitions():
        (found,) = re.findall(definition["Regex"], line)
        assert float(found) == pytest.approx(value, rel=1e-5, nan_ok=True)


def test_a_metric_is_not_found_in_another_ones_name() -> None:
    definitions = {d["Name"]: d["Regex"] for d in metrics.metric_definitions()}
    assert not re.findall(definitions["accuracy"], "majority_accuracy=0.5; balanced_accuracy=0.5;")


def test_the_definitions_fit_sagemakers_limits() -> None:
    definitions = metrics.metric_definitions()
    assert len(definitions) <= 40
    assert all(len(d["Name"]) <= 255 and len(d["Regex"]) <= 500 for d in definitions)


def test_a_metric_that_does_not_exist_is_left_out() -> None:
    assert metrics.line(1, 2, {"accuracy": 0.5}) == "epoch=1; step=2; accuracy=0.5;"
