"""What an instance costs: the price that the user gives, or the one of the dated table aws/prices.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from launcher import ROOT

TABLE = ROOT / "aws" / "prices.csv"
#: The table's region.
REGION = "us-east-1"
#: Spot saves so much as a rule. AWS promises nothing: the market sets the price.
SPOT_SAVING = (0.3, 0.7)


@dataclass(frozen=True)
class Price:
    """The price of one instance for one hour on demand, what it is counted in (if that is known), and its source."""

    per_hour: float
    currency: str | None
    source: str

    def shown(self, amount: float) -> str:
        """An amount in the price's currency."""
        return f"{self.currency} {amount:.2f}" if self.currency else f"{amount:.2f}"

    def cost(self, seconds: float, instance_count: int) -> float:
        """The price of so many seconds on so many instances."""
        return round(seconds / 3600 * instance_count * self.per_hour, 4)


def find(instance_type: str, region: str, given: float | None) -> Price | None:
    """The price that is given, or the table's, or None for a type that the table does not have."""
    if given is not None:
        return Price(given, None, "--price")
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            if row["instance_type"] == instance_type:
                elsewhere = "" if region == REGION else f"; the job is in {region}, where it differs"
                source = f"{TABLE.parent.name}/{TABLE.name}: {REGION}, as of {row['as_of']}{elsewhere}"
                return Price(float(row["usd_per_hour"]), "USD", source)
    return None
