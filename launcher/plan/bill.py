"""The maximum cost of a job: its instances for as long as they may run. Disks and S3 cost extra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.plan.prices import SPOT_SAVING, Price


def max_seconds(request: Mapping[str, Any]) -> int:
    """Billed seconds of one instance at most. Spot instances never cost more than on-demand instances."""
    keep_alive = request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    return request["StoppingCondition"]["MaxRuntimeInSeconds"] + keep_alive


def estimate(request: Mapping[str, Any], price: Price | None, trials: int = 1) -> dict[str, Any]:
    """The maximum cost of `trials` jobs like this one, as data; without a price only its factors."""
    resources = request["ResourceConfig"]
    parts = {
        "trials": trials,
        "instances": resources["InstanceCount"],
        "instance_type": resources["InstanceType"],
        "hours": round(max_seconds(request) / 3600, 4),
    }
    if price is None:
        return parts
    longest = price.cost(trials * max_seconds(request), resources["InstanceCount"])
    least, most = SPOT_SAVING
    return parts | {
        "price_per_hour": price.per_hour,
        "price_source": price.source,
        "currency": price.currency,
        "longest_on_demand": round(longest, 2),
        "longest_on_spot": [round(longest * (1 - most), 2), round(longest * (1 - least), 2)],
    }


def lines(request: Mapping[str, Any], price: Price | None, trials: int = 1) -> list[str]:
    """The maximum cost as text."""
    parts = estimate(request, price, trials)
    factors = f"{parts['instances']} x {parts['instance_type']} x {parts['hours']:.3g} h"
    if trials > 1:
        factors = f"{trials} trials x {factors}"
    if price is None:
        return [f"price unknown (at most {factors}); give the price of one instance per hour with --price"]
    low, high = map(price.format, parts["longest_on_spot"])
    band = "-".join(f"{saving:.0%}".rstrip("%") for saving in SPOT_SAVING)
    return [
        f"at most {price.format(parts['longest_on_demand'])} on demand ({factors} x {price.per_hour:g}); "
        "disks and S3 cost extra",
        f"at most {low} to {high} on spot instances, which usually save {band} % (not guaranteed)",
        f"price from {price.source}",
    ]
