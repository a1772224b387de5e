"""The log of a job, and outages of AWS while it is followed."""

import pytest

import launch
from launcher.aws import follow
from support.fake_clock import START
from support.launching import JOB, assert_one_sentence

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")

WHOSE = f"Log of job {JOB} (/aws/sagemaker/TrainingJobs)\n"


def test_the_log_is_followed_while_the_job_runs(train, aws_stub, clock):
    aws_stub.describe_hook = lambda job: None
    clock.plan = [
        (START + 30, lambda: aws_stub.log(JOB, "epoch=1; accuracy=0.8;")),
        (START + 70, lambda: aws_stub.log(JOB, "epoch=2; accuracy=0.9;", "a", "b")),
        (START + 100, lambda: aws_stub.end(JOB)),
        (START + 101, lambda: aws_stub.log(JOB, "the last line comes late")),
    ]
    code, out, err = train()
    assert (code, err) == (0, "")
    assert clock.plan == []
    lines = ["epoch=1; accuracy=0.8;", "epoch=2; accuracy=0.9;", "a", "b", "the last line comes late"]
    assert [line for line in out.splitlines() if line in lines] == lines


def test_credentials_that_expire_lose_contact_and_not_the_job(train, aws_stub):
    aws_stub.describe_hook = lambda job: None
    aws_stub.faults["DescribeTrainingJob"] = ["slow", "expired"]
    assert_one_sentence(train(), launch.LOST_CONTACT, "credentials have expired", f"launch.py attach {JOB}")
    assert aws_stub.jobs[JOB]["TrainingJobStatus"] == "InProgress"


def test_a_long_outage_is_waited_for_up_to_a_limit(train, aws_stub, clock, monkeypatch):
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 100)
    aws_stub.describe_hook = lambda job: None
    clock.plan = [(START + 60, lambda: aws_stub.end(JOB))]
    aws_stub.faults["DescribeTrainingJob"] = ["503"] * 12
    code, out, _ = train()
    assert code == 0
    assert "; retrying" in out
    aws_stub.describe_hook = lambda job: None
    aws_stub.faults["DescribeTrainingJob"] = ["503"] * 1000
    assert_one_sentence(train(name="reviews-2"), launch.LOST_CONTACT, "ServiceUnavailable")
    assert clock.now - START > 60 + 100


def test_logs_prints_all_hosts_and_all_pages(command, aws_stub, job):
    aws_stub.log(JOB, "a", "b", "c")
    aws_stub.log(JOB, "d", host="algo-2")
    assert command("logs", JOB) == (0, "algo-1 | a\nalgo-1 | b\nalgo-1 | c\nalgo-2 | d\n", WHOSE)


def test_a_log_and_a_reason_control_no_terminal(command, aws_stub, job):
    aws_stub.log(JOB, "\x1b]0;title\x07a\tb", "c\u202e")
    aws_stub.jobs[JOB] |= {"TrainingJobStatus": "Failed", "FailureReason": "\x1b[2Jgone"}
    assert command("logs", JOB)[1] == "\\x1b]0;title\\x07a\tb\nc\\u202e\n"
    out = command("status", JOB)[1]
    assert "\\x1b[2Jgone" in out and "\x1b" not in out


def test_logs_can_be_followed_and_cut_short(command, aws_stub, job, clock, monkeypatch):
    aws_stub.log(JOB, "a")
    clock.plan = [(START + 30, lambda: (aws_stub.log(JOB, "b"), aws_stub.end(JOB)))]
    assert command("logs", JOB, "--follow")[:2] == (0, "a\nb\n")


def test_logs_of_a_job_that_has_none_yet(command, job):
    assert command("logs", JOB) == (0, "", WHOSE)
