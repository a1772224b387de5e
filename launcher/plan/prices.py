"""Instance prices: the one given by the user, or the one in the dated table aws/prices.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from launcher import ROOT

TABLE = ROOT / "aws" / "prices.csv"
#: The region of the table.
REGION = "us-east-1"
#: The usual saving of spot instances, from and to. The market sets the price, AWS guarantees nothing.
SPOT_SAVING = (0.3, 0.7)


@dataclass(frozen=True)
class Price:
    """The on-demand price of one instance per hour, its currency if known, and its source."""

    per_hour: float
    currency: str | None
    source: str

    def format(self, amount: float) -> str:
        """An amount in the currency of the price."""
        return f"{self.currency} {amount:.2f}" if self.currency else f"{amount:.2f}"

    def cost(self, seconds: float, instance_count: int) -> float:
        """The price of `instance_count` instances for this time."""
        return round(seconds / 3600 * instance_count * self.per_hour, 4)


def rows() -> list[dict[str, str]]:
    """The rows of the table: instance_type, gpus, usd_per_hour, as_of."""
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def find(instance_type: str, region: str, given: float | None) -> Price | None:
    """The given price, else the table's; None for an instance type that is not in the table."""
    if given is not None:
        return Price(given, None, "--price")
    for row in rows():
        if row["instance_type"] == instance_type:
            elsewhere = "" if region == REGION else f"; prices in {region} differ"
            source = f"{TABLE.parent.name}/{TABLE.name}: {REGION}, as of {row['as_of']}{elsewhere}"
            return Price(float(row["usd_per_hour"]), "USD", source)
    return None
