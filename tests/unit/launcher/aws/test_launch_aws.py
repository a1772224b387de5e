"""The commands of launch.py that ask AWS: moto for S3, an own stub for SageMaker and its log, all on this machine."""

import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

import launch
from launcher import ROOT
from launcher.aws import commands as remote
from launcher.aws import follow
from launcher.plan import channels
from support import sagemaker_stub
from support.fake_clock import START

pytest_plugins = ["support.launching"]
pytestmark = pytest.mark.usefixtures("clock")

REGION, ACCOUNT, JOB = "eu-west-1", "123456789012", "reviews-1"
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"


@pytest.fixture(autouse=True)
def stub(monkeypatch, tmp_path):
    """An empty account whose credentials are in the environment."""
    monkeypatch.chdir(tmp_path)
    with sagemaker_stub.account(monkeypatch, REGION, "SAGEMAKER", "CLOUDWATCH_LOGS") as running:
        running.describe_hook = lambda job: job.update(
            TrainingJobStatus="Completed",
            SecondaryStatus="Completed",
            ModelArtifacts={"S3ModelArtifacts": f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz"},
        )
        yield running


@pytest.fixture
def reviews(tmp_path):
    file = tmp_path / "reviews.tsv"
    file.write_text("label\ttext\npositive\tgood\n")
    return file


@pytest.fixture
def train(command, reviews):
    """Run `launch.py train` on one file."""

    def run(*words, name=JOB):
        return command(
            "train",
            "--skip-checks",
            "--skip-data-check",
            f"--image={ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/name@sha256:{'0' * 64}",
            f"--role=arn:aws:iam::{ACCOUNT}:role/training",
            f"--data={reviews}",
            f"--job-name={name}",
            *words,
        )

    return run


@pytest.fixture
def job(stub):
    """A job that runs."""
    stub.describe_hook = lambda job: None
    stub.answer(
        "CreateTrainingJob",
        {
            "TrainingJobName": JOB,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/text-classification"},
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        },
    )
    return stub.jobs[JOB]


def keys(bucket=BUCKET):
    return [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def assert_one_sentence(result, code, *parts):
    """The exit code, and one line on stderr with these words."""
    assert result[0] == code, result
    assert result[2].count("\n") == 1
    for part in parts:
        assert part in result[2]


# -- train


def test_train_uploads_the_data_runs_the_job_and_says_where_the_model_is(train, stub, reviews):
    stub.log(JOB, "epoch=1; accuracy=0.9;")
    code, out, err = train("--instance-count=2", "epochs=2")
    assert (code, err) == (0, "")
    assert keys() == [f"text-classification/data/{channels.read(reviews).content}/reviews.tsv"]
    assert stub.jobs[JOB]["HyperParameters"] == {"epochs": "2"}
    assert stub.jobs[JOB]["ResourceConfig"]["InstanceCount"] == 2
    assert "epoch=1; accuracy=0.9;" in out
    assert f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz" in out
    assert f"`launch.py download {JOB} --region {REGION}` fetches its model" in out.splitlines()[-1]


def test_with_json_the_result_alone_is_on_stdout(train, stub):
    stub.log(JOB, "epoch=1; accuracy=0.9;")
    code, out, err = train("--json")
    assert code == 0
    assert json.loads(out)["status"] == "Completed"
    assert "epoch=1; accuracy=0.9;" in err
    stub.describe_hook = lambda job: stub.end(JOB, "Failed", FailureReason="AlgorithmError: no")
    code, out, err = train("--json")
    assert code == launch.FAILED
    assert json.loads(out)["reason"] == "AlgorithmError: no"
    assert err.splitlines()[-1] == f"launch.py: job {JOB} ended as Failed. AlgorithmError: no"


def test_the_same_data_is_sent_once(train, stub, reviews):
    assert ": 25 of 25 bytes sent\n" in train()[1]
    assert ": there already\n" in train(name="reviews-2")[1]
    reviews.write_text("label\ttext\npositive\tevil\n")
    assert ": 25 of 25 bytes sent\n" in train(name="reviews-3")[1]
    assert len(keys()) == 2


def test_folders_are_uploaded_whole_each_to_its_channel(train, stub, tmp_path):
    for file in ("model/config.json", "model/model.safetensors", "validation/inner/rows.tsv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    code, _, err = train("--validation", tmp_path / "validation", "--model", tmp_path / "model")
    assert (code, err) == (0, "")
    uris = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
        for channel in stub.jobs[JOB]["InputDataConfig"]
    }
    expected = {
        f"{uris['train']}reviews.tsv",
        f"{uris['validation']}inner/rows.tsv",
        f"{uris['model']}config.json",
        f"{uris['model']}model.safetensors",
    }
    assert {f"s3://{BUCKET}/{key}" for key in keys()} == expected


def test_uploads_are_encrypted_with_the_key_that_is_given(train):
    assert train("--kms-key=alias/mine")[0] == 0
    [key] = keys()
    assert boto3.client("s3").head_object(Bucket=BUCKET, Key=key)["SSEKMSKeyId"] == "alias/mine"


def test_the_log_is_followed_while_the_job_runs(train, stub, clock):
    stub.describe_hook = lambda job: None
    clock.plan = [
        (START + 30, lambda: stub.log(JOB, "epoch=1; accuracy=0.8;")),
        (START + 70, lambda: stub.log(JOB, "epoch=2; accuracy=0.9;", "a", "b")),
        (START + 100, lambda: stub.end(JOB)),
        (START + 101, lambda: stub.log(JOB, "the last line comes late")),
    ]
    code, out, err = train()
    assert (code, err) == (0, "")
    assert clock.plan == []
    lines = ["epoch=1; accuracy=0.8;", "epoch=2; accuracy=0.9;", "a", "b", "the last line comes late"]
    assert [line for line in out.splitlines() if line in lines] == lines


def test_a_failed_job_shows_its_log_and_its_reason(train, stub):
    stub.log(JOB, "the last line")
    reason = "AlgorithmError: Your data: row 3 of reviews.tsv has no label"
    stub.describe_hook = lambda job: stub.end(JOB, "Failed", FailureReason=reason)
    code, out, err = train()
    assert code == launch.FAILED
    assert "the last line" in out
    assert err == f"launch.py: job {JOB} ended as Failed. {reason}\n"


def test_a_stopped_job_is_no_success(train, stub):
    stub.describe_hook = lambda job: job.update(TrainingJobStatus="Stopped", SecondaryStatus="MaxRuntimeExceeded")
    code, _, err = train()
    assert code == launch.FAILED
    assert err == f"launch.py: job {JOB} ended as Stopped. its last stage is MaxRuntimeExceeded\n"


@pytest.mark.parametrize("stops", [False, True])
def test_an_interrupt_leaves_the_job_or_stops_it(train, stub, clock, stops):
    stub.describe_hook = lambda job: None
    clock.plan = [(START + 10, lambda: signal.raise_signal(signal.SIGINT))]
    code, _, err = train(*["--stop-on-interrupt"] * stops)
    assert code == 130
    assert stub.jobs[JOB]["TrainingJobStatus"] == ("Stopping" if stops else "InProgress")
    if stops:
        assert err == f"launch.py: job {JOB} is told to stop; it saves what it has first\n"
    else:
        assert f"`launch.py attach {JOB} --region {REGION}` follows it" in err
        assert f"`launch.py stop {JOB} --region {REGION}` ends it" in err


def test_a_terminal_is_asked_first(train, stub, monkeypatch):
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    answers = ["n", "y"]
    monkeypatch.setattr("builtins.input", lambda question: answers.pop(0))
    assert_one_sentence(train("--price=2"), launch.REFUSED, "nothing was started")
    assert stub.jobs == {}
    code, out, _ = train("--price=2")
    assert code == 0
    assert "bill    at most 48.00" in out
    assert train("--yes", name="reviews-2")[0] == 0


# -- one job, whatever happens


@pytest.mark.parametrize("seed", range(int(os.environ.get("LAUNCHES", "10"))))
def test_a_faulty_launch_creates_exactly_one_job(train, stub, seed):
    """LAUNCHES=100 for the long form. Each first call fails in another way."""
    order = random.Random(seed)
    kinds = ("throttle", "500", "503", "reset", "lost")
    stub.faults["CreateTrainingJob"] = [kinds[seed % 5], *order.choices(kinds, k=order.randrange(6))]
    stub.faults["DescribeTrainingJob"] = order.choices(kinds[:4], k=order.randrange(3))
    assert train()[0] == 0
    assert list(stub.jobs) == [JOB]
    assert stub.calls.count("CreateTrainingJob") >= 2


def test_latency_is_no_error(train, stub):
    """LATENCY=20 for the long form."""
    stub.latency_seconds = float(os.environ.get("LATENCY", "1.5"))
    stub.faults["CreateTrainingJob"] = ["slow"]
    assert train()[0] == 0
    assert stub.calls.count("CreateTrainingJob") == 1


def test_a_second_submission_of_a_name_finds_the_job(train, stub):
    assert train("epochs=2")[0] == 0
    code, out, _ = train("epochs=2")
    assert code == 0
    assert f"Job {JOB} was started before, with this very request" in out
    assert_one_sentence(train("epochs=3"), launch.REFUSED, "exists already, with another HyperParameters", "--job-name")
    assert len(stub.jobs) == 1


def test_an_unknown_outcome_is_lost_contact(train, stub):
    stub.faults["CreateTrainingJob"] = ["lost"] + ["reset"] * 20
    code, _, err = train()
    assert code == launch.LOST_CONTACT
    assert f"it is not known whether job {JOB} was started" in err
    assert f"`launch.py attach {JOB} --region {REGION}` follows it" in err


def test_a_job_that_cannot_be_compared_is_lost_contact(train, stub):
    stub.faults["CreateTrainingJob"] = ["lost"]
    stub.faults["DescribeTrainingJob"] = ["503"] * 20
    assert_one_sentence(train(), launch.LOST_CONTACT, f"it is not known whether job {JOB} was started")
    assert list(stub.jobs) == [JOB]


def test_credentials_that_expire_lose_contact_and_not_the_job(train, stub):
    stub.describe_hook = lambda job: None
    stub.faults["DescribeTrainingJob"] = ["slow", "expired"]
    assert_one_sentence(train(), launch.LOST_CONTACT, "credentials have expired", f"launch.py attach {JOB}")
    assert stub.jobs[JOB]["TrainingJobStatus"] == "InProgress"


def test_a_long_outage_is_waited_for_up_to_a_limit(train, stub, clock, monkeypatch):
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 100)
    stub.describe_hook = lambda job: None
    clock.plan = [(START + 60, lambda: stub.end(JOB))]
    stub.faults["DescribeTrainingJob"] = ["503"] * 12
    code, out, _ = train()
    assert code == 0
    assert "; trying on" in out
    stub.describe_hook = lambda job: None
    stub.faults["DescribeTrainingJob"] = ["503"] * 1000
    assert_one_sentence(train(name="reviews-2"), launch.LOST_CONTACT, "ServiceUnavailable")
    assert clock.now - START > 60 + 100


# -- status, logs, attach, stop, list


def test_status_says_what_the_job_cost_and_what_spot_saved(command, stub, job):
    stub.end(
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
    assert (
        data["price"]
        == f"1.408 an hour (aws/prices.csv: us-east-1, as of 2025-06; the job is in {REGION}, where it differs)"
    )
    job["ResourceConfig"]["InstanceType"] = "ml.p5.48xlarge"
    assert "cost" not in json.loads(command("status", JOB, "--json")[1])


def test_logs_prints_all_hosts_and_all_pages(command, stub, job):
    stub.log(JOB, "a", "b", "c")
    stub.log(JOB, "d", host="algo-2")
    assert command("logs", JOB) == (0, "algo-1 | a\nalgo-1 | b\nalgo-1 | c\nalgo-2 | d\n", "")


def test_logs_can_be_followed_and_cut_short(command, stub, job, clock, monkeypatch):
    stub.log(JOB, "a")
    clock.plan = [(START + 30, lambda: (stub.log(JOB, "b"), stub.end(JOB)))]
    assert command("logs", JOB, "--follow")[:2] == (0, "a\nb\n")


def test_a_reader_that_goes_away_is_no_error(stub, job):
    stub.log(JOB, *["a line"] * 20_000)
    words = f"{shlex.quote(sys.executable)} {ROOT / 'launch.py'} logs {JOB} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, "a line\n", "")


def test_logs_of_a_job_that_has_none_yet(command, job):
    assert command("logs", JOB) == (0, "", "")


def test_attach_follows_to_the_end(command, stub, job, clock):
    job["SecondaryStatusTransitions"] = [{"Status": "Starting", "StartTime": START, "StatusMessage": "Launching"}]
    clock.plan = [(START + 30, lambda: stub.end(JOB, "Failed", FailureReason="AlgorithmError: no"))]
    code, out, err = command("attach", JOB)
    assert code == launch.FAILED
    assert out.startswith("--- Starting: Launching\n")
    assert err == f"launch.py: job {JOB} ended as Failed. AlgorithmError: no\n"


def test_stop_waits_for_the_end(command, stub, job, clock):
    clock.plan = [(START + 60, lambda: stub.end(JOB, "Stopped"))]
    assert command("stop", JOB)[:2] == (0, f"Job {JOB} is told to stop\nJob {JOB} is Stopped\n")
    assert_one_sentence(command("stop", JOB), launch.REFUSED, "cannot be stopped: it is Stopped already")


def test_list_shows_the_newest_first(command, stub, train):
    for name in ("text-classification-1", "text-classification-2", "other"):
        train(name=name)
    out = command("list")[1]
    assert [line.split()[-1] for line in out.splitlines()] == ["text-classification-2", "text-classification-1"]
    [newest] = json.loads(command("list", "--limit=1", "--json")[1])
    assert newest["job"] == "text-classification-2"
    assert newest["status"] == "Completed"


# -- download


def archive(**members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(data or b"")
            tar.addfile(member, io.BytesIO(data or b""))
    return content.getvalue()


@pytest.fixture
def artifacts(stub, job):
    """Put a job's archives into S3."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    prefix = f"text-classification/{JOB}/output"
    stub.end(JOB, ModelArtifacts={"S3ModelArtifacts": f"s3://{BUCKET}/{prefix}/model.tar.gz"})
    return lambda name, content: s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}.tar.gz", Body=content)


def test_download_fetches_and_unpacks(command, artifacts, tmp_path):
    artifacts("model", archive(**{"config.json": b"{}"}))
    artifacts("output", archive(**{"data/metrics.json": b"{}"}))
    code, out, err = command("download", JOB, "--to", tmp_path / "x", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"model": f"{tmp_path}/x/model", "output": f"{tmp_path}/x/output"}
    assert (tmp_path / "x" / "model" / "config.json").read_text() == "{}"
    assert (tmp_path / "x" / "output" / "data" / "metrics.json").read_text() == "{}"
    assert_one_sentence(command("download", JOB, "--to", tmp_path / "x"), launch.WRONG_USE, "exists; remove it")


@pytest.mark.parametrize("content", [archive(**{"../outside": b"x"}), archive(link=None), b"not an archive"])
def test_download_unpacks_nothing_unsafe(command, artifacts, tmp_path, content):
    artifacts("model", content)
    result = command("download", JOB, "--to", tmp_path / "x")
    assert_one_sentence(result, launch.REFUSED, "model.tar.gz was not unpacked")
    assert not (tmp_path / "x" / "outside").exists()
    assert list((tmp_path / "x" / "model").glob("*")) == []


def test_download_of_a_job_without_results(command, artifacts, stub, tmp_path):
    assert_one_sentence(command("download", JOB, "--to", tmp_path / "x"), launch.REFUSED, "left neither a model")
    stub.jobs[JOB]["TrainingJobStatus"] = "InProgress"
    assert_one_sentence(command("download", JOB), launch.REFUSED, "is still InProgress", "launch.py attach")


def test_downloads_lie_in_build_by_default():
    assert remote.DOWNLOADS == ROOT / "build" / "jobs"


# -- buckets


def test_an_own_bucket_is_used_but_never_made(train):
    assert_one_sentence(
        train("--bucket=my-bucket"),
        launch.REFUSED,
        "the bucket my-bucket does not exist; create it, or give another --bucket",
    )
    boto3.client("s3").create_bucket(Bucket="my-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert train("--bucket=my-bucket")[0] == 0
    assert len(keys("my-bucket")) == 1


def test_the_default_bucket_of_a_stranger_is_refused(train, monkeypatch):
    refuse(monkeypatch, "HeadBucket", "403", "Forbidden", status=403)
    assert_one_sentence(train(), launch.REFUSED, f"the bucket {BUCKET} is not yours to use; give another --bucket")


def test_the_default_bucket_is_asked_for_with_its_owner(train, monkeypatch):
    calls = []
    call = botocore.client.BaseClient._make_api_call

    def recorded(self, operation, arguments):
        calls.append((operation, arguments.get("ExpectedBucketOwner")))
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    assert train()[0] == 0
    for operation in ("HeadBucket", "ListObjectsV2", "PutObject"):
        assert (operation, ACCOUNT) in calls


# -- what AWS refuses


def refuse(monkeypatch, operation, code, message, status=400):
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    fail(monkeypatch, operation, ClientError(response, operation))


def fail(monkeypatch, operation, error):
    call = botocore.client.BaseClient._make_api_call

    def failing(self, called, arguments):
        if called == operation:
            raise error
        return call(self, called, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", failing)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (
            "AccessDeniedException",
            "CreateTrainingJob (AccessDeniedException: It will not do); ask for that permission",
        ),
        ("ExpiredTokenException", "the AWS credentials have expired; get new ones"),
        ("UnrecognizedClientException", "AWS does not accept the credentials"),
        ("ResourceLimitExceeded", "ask for a higher quota under Service Quotas, or take another --instance-type"),
        ("ValidationException", "correct what it names"),
    ],
)
def test_what_aws_refuses_is_one_sentence_with_a_remedy(train, monkeypatch, code, remedy):
    refuse(monkeypatch, "CreateTrainingJob", code, "It will not do.")
    assert_one_sentence(train(), launch.REFUSED, remedy)


def test_a_missing_network_is_one_sentence(train, monkeypatch):
    fail(monkeypatch, "HeadBucket", EndpointConnectionError(endpoint_url="https://s3.amazonaws.com"))
    assert_one_sentence(
        train(), launch.REFUSED, "Could not connect to the endpoint URL", "check the region's name and the network"
    )


def test_a_refused_upload_is_one_sentence(train, monkeypatch):
    refuse(monkeypatch, "PutObject", "AccessDenied", "Access Denied")
    assert_one_sentence(train(), launch.REFUSED, "check the bucket and your permission to write to it")


@pytest.mark.parametrize("words", [["train"], ["status", JOB], ["list"], ["download", JOB]])
def test_missing_credentials_are_one_sentence(train, command, monkeypatch, tmp_path, words):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    result = train() if words == ["train"] else command(*words)
    assert_one_sentence(result, launch.REFUSED, "no AWS credentials were found; run `aws configure`")


def test_a_misspelt_profile_is_one_sentence(train, command, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    for result in (train(), command("status", JOB)):
        assert_one_sentence(result, launch.REFUSED, "The config profile (nobody) could not be found")


def test_an_unknown_job_is_one_sentence(command):
    for name in ("status", "logs", "attach", "stop", "download"):
        assert_one_sentence(command(name, "nothing"), launch.REFUSED, f"there is no job nothing in {REGION}")


MISTAKES = [
    (["trian"], 2, "argument COMMAND: invalid choice: 'trian' (choose from"),
    (["train", "--rolle=x"], 2, "--rolle is not a flag of this command; did you mean --role?"),
    (["train", "--epochs=2"], 2, "--epochs is not a flag of this command; hyperparameters are written as epochs=value"),
    (["train", "epoch=2"], 2, "unknown hyperparameter 'epoch'; did you mean epochs?"),
    (["train", "epochs=-1"], 2, "hyperparameter epochs=-1 is out of range"),
    (["train", "--data=none.tsv"], 2, "--data none.tsv does not exist"),
    (["train", "--role=training"], 2, "--role 'training' is not the ARN of a role"),
    (["train", "--image=name:local"], 2, "--image 'name:local' lies on this machine only"),
    (["train", "--bucket=s3://x"], 2, "--bucket 's3://x' is not the name of a bucket"),
    (["train", "--region=Ireland"], 2, "region 'Ireland' is not the name of an AWS region"),
    (["train", "--instance-type=g5"], 2, "--instance-type 'g5' is not a SageMaker instance type"),
    (["train", "--max-wait=9"], 2, "--max-wait is for spot instances"),
    (["train", "--bucket=none-such"], 3, "the bucket none-such does not exist"),
    (["train", "--config=none.yaml"], 2, "--config none.yaml cannot be read"),
    (["status"], 2, "the following arguments are required: JOB"),
    (["status", "none"], 3, f"there is no job none in {REGION}"),
    (["status", JOB, "--region=us-east-9"], 3, f"there is no job {JOB} in us-east-9"),
    (["status", JOB, "epochs=2"], 2, "'epochs=2' is one word too many"),
    (["list", "--limit=all"], 2, "argument --limit: 'all' is not a whole number of 1 or more"),
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
