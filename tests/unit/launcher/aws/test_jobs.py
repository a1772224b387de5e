"""Exactly one job is created, whatever happens to the requests."""

import os
import random

import pytest

import launch
from support.launching import JOB, REGION, assert_one_sentence

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")


@pytest.mark.parametrize("seed", range(int(os.environ.get("LAUNCHES", "10"))))
def test_a_faulty_launch_creates_exactly_one_job(train, aws_stub, seed):
    """LAUNCHES=100 for the long form. The first call fails, each time in another way."""
    order = random.Random(seed)
    kinds = ("throttle", "500", "503", "reset", "lost")
    aws_stub.faults["CreateTrainingJob"] = [kinds[seed % 5], *order.choices(kinds, k=order.randrange(6))]
    aws_stub.faults["DescribeTrainingJob"] = order.choices(kinds[:4], k=order.randrange(3))
    assert train()[0] == 0
    assert list(aws_stub.jobs) == [JOB]
    assert aws_stub.calls.count("CreateTrainingJob") >= 2


def test_latency_is_no_error(train, aws_stub):
    """LATENCY=20 for the long form."""
    aws_stub.latency_seconds = float(os.environ.get("LATENCY", "1.5"))
    aws_stub.faults["CreateTrainingJob"] = ["slow"]
    assert train()[0] == 0
    assert aws_stub.calls.count("CreateTrainingJob") == 1


def test_a_second_submission_of_a_name_finds_the_job(train, aws_stub):
    assert train("epochs=2")[0] == 0
    code, out, _ = train("epochs=2")
    assert code == 0
    assert f"Job {JOB} was already started with the same request" in out
    assert_one_sentence(
        train("epochs=3"), launch.REFUSED, "already exists with a different HyperParameters", "--job-name"
    )
    assert len(aws_stub.jobs) == 1


def test_an_unknown_outcome_is_lost_contact(train, aws_stub):
    aws_stub.faults["CreateTrainingJob"] = ["lost"] + ["reset"] * 20
    code, _, err = train()
    assert code == launch.LOST_CONTACT
    assert f"it is unknown whether job {JOB} was started" in err
    assert f"`launch.py attach {JOB} --region {REGION}` follows it" in err


def test_a_job_that_cannot_be_compared_is_lost_contact(train, aws_stub):
    aws_stub.faults["CreateTrainingJob"] = ["lost"]
    aws_stub.faults["DescribeTrainingJob"] = ["503"] * 20
    assert_one_sentence(train(), launch.LOST_CONTACT, f"it is unknown whether job {JOB} was started")
    assert list(aws_stub.jobs) == [JOB]


def test_an_unknown_job_is_one_sentence(command):
    for name in ("status", "logs", "attach", "stop", "download"):
        assert_one_sentence(command(name, "nothing"), launch.REFUSED, f"there is no job nothing in {REGION}")
