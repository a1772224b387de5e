"""The price table."""

import csv
from datetime import date

import pytest

from launcher.plan import checks, prices, request

pytestmark = pytest.mark.usefixtures("no_aws")


def test_the_price_table_can_be_read_and_says_when_it_was_true():
    with prices.TABLE.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len({row["instance_type"] for row in rows}) == len(rows) > 20
    for row in rows:
        checks.instance_type(row["instance_type"])
        assert 0.1 < float(row["usd_per_hour"]) < 25
        assert date.fromisoformat(f"{row['as_of']}-01") <= date.today()
    assert (
        prices.find(request.DEFAULT_INSTANCE_TYPE, "us-east-1", None).source
        == "aws/prices.csv: us-east-1, as of 2025-06"
    )
    assert prices.find("ml.m1.tiny", "us-east-1", None) is None
