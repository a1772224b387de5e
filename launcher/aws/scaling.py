"""Autoscaling of endpoints with Application Auto Scaling: apply and remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from launcher.aws import client
from launcher.errors import JobFailed, Refused
from launcher.plan import endpoint, scaling


def apply(autoscaling: Any, name: str, requests: Mapping[str, Mapping[str, Any]]) -> None:
    """Scale an endpoint that is in service. Replaces the range and policy that it has. Raises JobFailed."""
    try:
        autoscaling.register_scalable_target(**requests["RegisterScalableTarget"])
        autoscaling.put_scaling_policy(**requests["PutScalingPolicy"])
    except client.FAILURES as error:
        raise JobFailed(
            f"endpoint {name} is in service, but is not scaled: {client.explain(error)}; the same command tries again"
        ) from None


def remove(autoscaling: Any, name: str) -> bool:
    """Remove the scaling of an endpoint, with its policy and alarms. Returns False if it has none. Raises Refused."""
    try:
        autoscaling.deregister_scalable_target(**scaling.target_of(name, endpoint.VARIANT))
    except client.FAILURES as error:
        if isinstance(error, ClientError) and client.code_of(error) == "ObjectNotFoundException":
            return False
        raise Refused(
            f"the scaling of endpoint {name} is not removed: {client.explain(error)}; run the command again"
        ) from None
    return True
