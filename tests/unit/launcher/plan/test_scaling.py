"""Ranges of instances, and the requests that scale an endpoint."""

import pytest

from launcher.plan import limits, scaling


def test_a_range_is_parsed():
    assert scaling.scale("1-4") == (1, 4)


@pytest.mark.parametrize("text", ["", "4", "0-2", "2-2", "4-1", "1-", "1-x", "1:4", "-1-4", "1-99999"])
def test_another_range_is_refused(text):
    with pytest.raises(ValueError, match="is not a range of instances; write it like 1-4"):
        scaling.scale(text)


def test_the_requests_are_those_of_aws():
    requests = scaling.requests("reviews", "all", (1, 4), 600)
    limits.check_all(requests)
    resource = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/reviews/variant/all",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    assert requests["RegisterScalableTarget"] == {**resource, "MinCapacity": 1, "MaxCapacity": 4}
    policy = requests["PutScalingPolicy"]
    assert {key: policy[key] for key in resource} == resource
    assert policy["TargetTrackingScalingPolicyConfiguration"] == {
        "TargetValue": 600.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "ScaleOutCooldown": 60,
        "ScaleInCooldown": 300,
    }
