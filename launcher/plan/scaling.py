"""Autoscaling of an endpoint as plain data: a range of instances, and the requests per minute that each should get."""

from __future__ import annotations

import re
from typing import Any

#: Requests per minute and instance: ten per second.
DEFAULT_REQUESTS_PER_MINUTE = 600

NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"

#: Seconds without another change. Fewer instances are tried later than more are.
_OUT_SECONDS, _IN_SECONDS = 60, 300


def scale(text: str) -> tuple[int, int]:
    """Parse a range of instances, MIN-MAX. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,4})-(\d{1,4})", text)
    least, most = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= least < most:
        raise ValueError(f"{text!r} is not a range of instances; write it like 1-4")
    return least, most


def target_of(endpoint: str, variant: str) -> dict[str, Any]:
    """What is scaled, as all requests name it."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": DIMENSION,
    }


def requests(endpoint: str, variant: str, bounds: tuple[int, int], per_minute: int) -> dict[str, dict[str, Any]]:
    """The requests by operation, in order.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-add-code-define.html
    """
    target = target_of(endpoint, variant)
    least, most = bounds
    return {
        "RegisterScalableTarget": {**target, "MinCapacity": least, "MaxCapacity": most},
        "PutScalingPolicy": {
            **target,
            "PolicyName": f"{endpoint}-requests",
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": float(per_minute),
                "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                "ScaleOutCooldown": _OUT_SECONDS,
                "ScaleInCooldown": _IN_SECONDS,
            },
        },
    }
