"""The maximum cost of a job, as text and as data."""

import json

import pytest

import launch
from launcher.plan.channels import Channel
from support.launching import IMAGE, ROLE

pytestmark = pytest.mark.usefixtures("no_aws")


def test_plan_says_what_is_read_written_and_paid_for(reviews, capsys):
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data={reviews}", "--bucket=b-1", "--job-name=job-1", "--spot"]
    words.append("--skip-checks")
    assert launch.main(["plan", *words]) == 0
    out = capsys.readouterr().out
    content = Channel.from_path(reviews).content_hash
    assert f"reads   s3://b-1/text-classification/data/{content}/: train, 1 file(s), 25 bytes" in out
    assert "writes  s3://b-1/text-classification/job-1/output/\n" in out
    assert "writes  s3://b-1/checkpoints/text-classification/job-1/\n" in out
    assert "bill    at most USD 33.79 on demand (1 x ml.g5.xlarge x 24 h x 1.408); disks and S3 cost extra\n" in out
    assert "        at most USD 10.14 to USD 23.65 on spot instances, which usually save 30-70 %" in out
    assert "        price from aws/prices.csv: us-east-1, as of 2025-06; prices in eu-west-1 differ" in out
    launch.main(["plan", *words, "--price=1.5", "--max-run=7200", "--instance-count=2"])
    out = capsys.readouterr().out
    assert "at most 6.00 on demand (2 x ml.g5.xlarge x 2 h x 1.5)" in out
    assert "price from --price" in out
    launch.main(["plan", *words, "--instance-type=ml.p5.48xlarge"])
    assert "bill    price unknown (at most 1 x ml.p5.48xlarge x 24 h); give the price of one" in capsys.readouterr().out


def test_the_bill_of_a_plan_is_data_too(reviews, capsys):
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data={reviews}", "--skip-checks", "--json", "--max-run=3600"]
    assert launch.main(["plan", *words, "--keep-alive=1800", "--instance-count=2", "--price=2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["checks"] == []
    assert plan["bill"] == {
        "trials": 1, "instances": 2, "instance_type": "ml.g5.xlarge", "hours": 1.5, "price_per_hour": 2.0,
        "price_source": "--price", "currency": None, "longest_on_demand": 6.0, "longest_on_spot": [1.8, 4.2],
    }  # fmt: skip
