"""What a job can cost at most, from a price that the user gives: prices differ by region and contract, and change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def longest_seconds(request: Mapping[str, Any]) -> int:
    """So long can each instance be paid for. Spot instances never cost more than those on demand."""
    keep_alive = request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    return request["StoppingCondition"]["MaxRuntimeInSeconds"] + keep_alive


def longest(request: Mapping[str, Any], price: float) -> float:
    """The longest bill for the instances, at this price for an hour of one. Disks and S3 come on top."""
    return round(longest_seconds(request) / 3600 * request["ResourceConfig"]["InstanceCount"] * price, 2)


def sentence(request: Mapping[str, Any], price: float | None) -> str:
    """The longest bill in words."""
    resources = request["ResourceConfig"]
    hours = longest_seconds(request) / 3600
    instances = f"{resources['InstanceCount']} x {resources['InstanceType']}"
    if price is None:
        return f"{instances} for at most {hours:.3g} h each; price not known: give that of one hour with --price"
    spot = ", on demand; spot costs less" if request.get("EnableManagedSpotTraining") else ""
    product = f"{instances} x {hours:.3g} h x {price:g}{spot}"
    return f"at most {longest(request, price):.2f} ({product}), disks and S3 not counted"
