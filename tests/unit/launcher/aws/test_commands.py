"""The commands train, status, logs, attach, stop and list, from the upload to the summary."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from botocore.exceptions import NoCredentialsError

import launch
from launcher import ROOT
from launcher.aws import client
from launcher.plan.channels import Channel
from support.fake_clock import START
from support.launching import BUCKET, IMAGE, JOB, REGION, ROLE, assert_one_sentence, keys, refuse

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")


def test_train_uploads_the_data_runs_the_job_and_says_where_the_model_is(train, aws_stub, reviews):
    aws_stub.log(JOB, "epoch=1; accuracy=0.9;")
    code, out, err = train("--instance-count=2", "epochs=2")
    assert (code, err) == (0, "")
    assert keys() == [f"text-classification/data/{Channel.from_path(reviews).content_hash}/reviews.tsv"]
    assert aws_stub.jobs[JOB]["HyperParameters"] == {"epochs": "2"}
    assert aws_stub.jobs[JOB]["ResourceConfig"]["InstanceCount"] == 2
    assert "epoch=1; accuracy=0.9;" in out
    assert f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz" in out
    assert f"`launch.py download {JOB} --region {REGION}` downloads its model" in out.splitlines()[-1]


def test_with_json_the_result_alone_is_on_stdout(train, aws_stub):
    aws_stub.log(JOB, "epoch=1; accuracy=0.9;")
    code, out, err = train("--json")
    assert code == 0
    assert json.loads(out)["status"] == "Completed"
    assert "epoch=1; accuracy=0.9;" in err
    aws_stub.describe_hook = lambda job: aws_stub.end(JOB, "Failed", FailureReason="AlgorithmError: no")
    code, out, err = train("--json")
    assert code == launch.FAILED
    assert json.loads(out)["reason"] == "AlgorithmError: no"
    assert err.splitlines()[-1] == f"launch.py: job {JOB} ended with status Failed. AlgorithmError: no"


def test_a_failed_job_shows_its_log_and_its_reason(train, aws_stub):
    aws_stub.log(JOB, "the last line")
    reason = "AlgorithmError: Your data: row 3 of reviews.tsv has no label"
    aws_stub.describe_hook = lambda job: aws_stub.end(JOB, "Failed", FailureReason=reason)
    code, out, err = train()
    assert code == launch.FAILED
    assert "the last line" in out
    assert err == f"launch.py: job {JOB} ended with status Failed. {reason}\n"


def test_a_stopped_job_is_no_success(train, aws_stub):
    aws_stub.describe_hook = lambda job: job.update(TrainingJobStatus="Stopped", SecondaryStatus="MaxRuntimeExceeded")
    code, _, err = train()
    assert code == launch.FAILED
    assert err == f"launch.py: job {JOB} ended with status Stopped. The last stage was MaxRuntimeExceeded\n"


@pytest.mark.parametrize("stops", [False, True])
def test_an_interrupt_leaves_the_job_or_stops_it(train, aws_stub, clock, stops):
    aws_stub.describe_hook = lambda job: None
    clock.plan = [(START + 10, lambda: signal.raise_signal(signal.SIGINT))]
    code, _, err = train(*["--stop-on-interrupt"] * stops)
    assert code == 130
    assert aws_stub.jobs[JOB]["TrainingJobStatus"] == ("Stopping" if stops else "InProgress")
    if stops:
        assert err == f"launch.py: stop requested for job {JOB}; the job saves its state first\n"
    else:
        assert f"`launch.py attach {JOB} --region {REGION}` follows it" in err
        assert f"`launch.py stop {JOB} --region {REGION}` stops it" in err


def test_a_job_that_cannot_be_stopped_keeps_running(train, aws_stub, clock, monkeypatch):
    aws_stub.describe_hook = lambda job: None
    clock.plan = [(START + 10, lambda: signal.raise_signal(signal.SIGINT))]
    refuse(monkeypatch, "StopTrainingJob", "AccessDeniedException", "no")
    code, _, err = train("--stop-on-interrupt")
    assert (code, err.count("\n")) == (130, 1)
    assert err.startswith(f"launch.py: job {JOB} is not stopped (AWS refused StopTrainingJob")
    assert f"`launch.py stop {JOB} --region {REGION}` stops it" in err


def test_credentials_that_expire_after_the_start_are_lost_contact(train, aws_stub, monkeypatch):
    create = client.create

    def expiring(service, region):
        if aws_stub.jobs:
            raise NoCredentialsError()
        return create(service, region)

    monkeypatch.setattr(client, "create", expiring)
    says = f"lost contact with job {JOB}, which keeps running if it was started: no AWS credentials were found"
    assert_one_sentence(train(), launch.LOST_CONTACT, says, f"`launch.py attach {JOB} --region {REGION}` follows it")


IN_S3 = f"--image={IMAGE}", f"--role={ROLE}", "--data=s3://mine/x/"


@pytest.mark.parametrize(
    "words",
    [
        ["attach", JOB], ["status", JOB], ["logs", JOB], ["logs", JOB, "--follow"], ["stop", JOB], ["list"],
        ["download", JOB], ["compare", JOB, "other"], ["deploy", JOB], ["undeploy", JOB], ["endpoints"],
        ["invoke", JOB, "text"], ["transform", JOB, "--data=s3://mine/x/"], ["transform", "s3://mine/m.tar.gz", *IN_S3],
        ["check", "--data=s3://mine/x/"], ["train", *IN_S3, "--skip-checks", "--skip-data-check"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_profile_that_does_not_exist_is_one_sentence(command, monkeypatch, words):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    assert_one_sentence(command(*words), launch.REFUSED, "no-such-profile", "set AWS_PROFILE to a profile in ~/.aws")


def test_a_terminal_is_asked_first(train, aws_stub, monkeypatch):
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    answers = ["n", "y"]
    monkeypatch.setattr("builtins.input", lambda question: answers.pop(0))
    assert_one_sentence(train("--price=2"), launch.REFUSED, "nothing was started")
    assert aws_stub.jobs == {}
    code, out, _ = train("--price=2")
    assert code == 0
    assert "bill    at most 48.00" in out
    assert train("--yes", name="reviews-2")[0] == 0


def test_status_says_what_the_job_cost_and_what_spot_saved(command, aws_stub, job):
    aws_stub.end(
        JOB,
        EnableManagedSpotTraining=True,
        TrainingTimeInSeconds=1000,
        BillableTimeInSeconds=360,
        FinalMetricDataList=[{"MetricName": "f1_macro", "Value": 0.875, "Timestamp": START}],
    )
    code, out, err = command("status", JOB, "--price=1.5")
    assert (code, err) == (0, "")
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert lines["instances"] == "2 ml.g5.xlarge (spot)"
    assert lines["spot_saving"] == "64% of the training time is not billed"
    assert lines["cost"] == "0.3"
    assert lines["f1_macro"] == "0.875"
    data = json.loads(command("status", JOB, "--json")[1])
    assert data["billable_seconds"] == 360
    assert data["cost"] == 0.2816
    assert data["price"] == f"1.408 per hour (aws/prices.csv: us-east-1, as of 2025-06; prices in {REGION} differ)"
    job["ResourceConfig"]["InstanceType"] = "ml.p5.48xlarge"
    assert "cost" not in json.loads(command("status", JOB, "--json")[1])


def test_a_reader_that_goes_away_is_no_error(aws_stub, job):
    aws_stub.log(JOB, *["a line"] * 20_000)
    words = f"{shlex.quote(sys.executable)} {ROOT / 'launch.py'} logs {JOB} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (141, "a line\n", 1)


def test_attach_follows_to_the_end(command, aws_stub, job, clock):
    job["SecondaryStatusTransitions"] = [{"Status": "Starting", "StartTime": START, "StatusMessage": "Launching"}]
    clock.plan = [(START + 30, lambda: aws_stub.end(JOB, "Failed", FailureReason="AlgorithmError: no"))]
    code, out, err = command("attach", JOB)
    assert code == launch.FAILED
    assert out.startswith("--- Starting: Launching\n")
    assert err == f"launch.py: job {JOB} ended with status Failed. AlgorithmError: no\n"


def test_stop_waits_for_the_end(command, aws_stub, job, clock):
    clock.plan = [(START + 60, lambda: aws_stub.end(JOB, "Stopped"))]
    assert command("stop", JOB)[:2] == (0, f"Stop requested for job {JOB}\nJob {JOB} is Stopped\n")
    assert_one_sentence(command("stop", JOB), launch.REFUSED, "cannot be stopped: it is already Stopped")


def test_list_shows_the_newest_first(command, aws_stub, train):
    for name in ("text-classification-1", "text-classification-2", "other"):
        train(name=name)
    out = command("list")[1]
    assert [line.split()[-1] for line in out.splitlines()] == ["text-classification-2", "text-classification-1"]
    [newest] = json.loads(command("list", "--limit=1", "--json")[1])
    assert newest["job"] == "text-classification-2"
    assert newest["status"] == "Completed"


MISTAKES = [
    (["trian"], 2, "argument COMMAND: invalid choice: 'trian' (choose from"),
    (["train", "--rolle=x"], 2, "--rolle is not a flag of this command; did you mean --role?"),
    (["train", "--epochs=2"], 2, "--epochs is not a flag of this command; write hyperparameters as epochs=value"),
    (["train", "epoch=2"], 2, "unknown hyperparameter 'epoch'; did you mean epochs?"),
    (["train", "epochs=-1"], 2, "hyperparameter epochs=-1 is out of range"),
    (["train", "--data=none.tsv"], 2, "--data none.tsv does not exist"),
    (["train", "--role=training"], 2, "--role 'training' is not the ARN of a role"),
    (["train", "--image=name:local"], 2, "--image 'name:local' exists on this machine only"),
    (["train", "--bucket=s3://x"], 2, "--bucket 's3://x' is not the name of a bucket"),
    (["train", "--region=Ireland"], 2, "region 'Ireland' is not the name of an AWS region"),
    (["train", "--instance-type=g5"], 2, "--instance-type 'g5' is not a SageMaker instance type"),
    (["train", "--max-wait=9"], 2, "--max-wait applies to spot instances only"),
    (["train", "--bucket=none-such"], 3, "the bucket none-such does not exist"),
    (["train", "--config=none.yaml"], 2, "--config none.yaml cannot be read"),
    (["status"], 2, "the following arguments are required: JOB"),
    (["status", "none"], 3, f"there is no job none in {REGION}"),
    (["status", JOB, "--region=us-east-9"], 3, f"there is no job {JOB} in us-east-9"),
    (["status", JOB, "epochs=2"], 2, "unexpected argument 'epochs=2'"),
    (["list", "--limit=all"], 2, "argument --limit: 'all' is not an integer of 1 or more"),
    (["download", "none"], 3, f"there is no job none in {REGION}"),
    (["attach", "none", "--follow"], 2, "--follow is not a flag of this command"),
    (["plan"], 2, "plan needs --data, --image, --role"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), MISTAKES, ids=[" ".join(words) for words, _, _ in MISTAKES])
def test_a_mistake_is_one_sentence_at_once(train, command, words, code, sentence):
    start = time.monotonic()
    result = train(*words[1:]) if words[0] == "train" else command(*words)
    assert_one_sentence(result, code, sentence)
    assert time.monotonic() - start < 5
