"""What a job can cost at most: the instances, for as long as they may run. Disks and S3 come on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.plan.prices import SPOT_SAVING, Price


def longest_seconds(request: Mapping[str, Any]) -> int:
    """So long can each instance be paid for. Spot instances never cost more than those on demand."""
    keep_alive = request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    return request["StoppingCondition"]["MaxRuntimeInSeconds"] + keep_alive


def estimate(request: Mapping[str, Any], price: Price | None, trials: int = 1) -> dict[str, Any]:
    """The longest bill of a job, or of so many like it, as data; without a price only what it is made of."""
    resources = request["ResourceConfig"]
    parts = {
        "trials": trials,
        "instances": resources["InstanceCount"],
        "instance_type": resources["InstanceType"],
        "hours": round(longest_seconds(request) / 3600, 4),
    }
    if price is None:
        return parts
    longest = price.cost(trials * longest_seconds(request), resources["InstanceCount"])
    least, most = SPOT_SAVING
    return parts | {
        "price_per_hour": price.per_hour,
        "price_source": price.source,
        "currency": price.currency,
        "longest_on_demand": round(longest, 2),
        "longest_on_spot": [round(longest * (1 - most), 2), round(longest * (1 - least), 2)],
    }


def lines(request: Mapping[str, Any], price: Price | None, trials: int = 1) -> list[str]:
    """The longest bill in words."""
    parts = estimate(request, price, trials)
    factors = f"{parts['instances']} x {parts['instance_type']} x {parts['hours']:.3g} h"
    if trials > 1:
        factors = f"{trials} trials x {factors}"
    if price is None:
        return [f"price unknown ({factors} at most); give that of one instance for one hour with --price"]
    low, high = map(price.shown, parts["longest_on_spot"])
    band = "-".join(f"{saving:.0%}".rstrip("%") for saving in SPOT_SAVING)
    return [
        f"at most {price.shown(parts['longest_on_demand'])} on demand ({factors} x {price.per_hour:g}); "
        "disks and S3 come on top",
        f"at most {low} to {high} on spot, if it saves {band} %: as a rule it does, but nobody promises it",
        f"price from {price.source}",
    ]
