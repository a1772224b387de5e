"""`launch.py train` against moto, in this process: no network, no account."""

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from moto.sagemaker.models import SageMakerModelBackend

import launch
from launcher import sdk
from launcher.signals import Interrupted

REGION, ACCOUNT, JOB = "eu-west-1", "123456789012", "reviews-1"
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
START = 1795377797
LOG_GROUP, LOG_STREAM = "/aws/sagemaker/TrainingJobs", f"{JOB}/algo-1-{START}"


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    """An empty account whose credentials are in the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield


class Clock:
    """Stands in for the SDK's `time`: its polling (5 s, 10 s, 30 s) takes no time, and `plan` happens meanwhile."""

    def __init__(self):
        self.now = START
        self.plan = []

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        while self.plan and self.now >= self.plan[0][0]:
            self.plan.pop(0)[1]()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sagemaker.session.time", clock)
    return clock


@pytest.fixture
def train(tmp_path, capsys):
    """Run `launch.py train` on one file and return the exit code, stdout and stderr."""
    reviews = tmp_path / "reviews.tsv"
    reviews.write_text("label\ttext\npositive\tgood\n")

    def run(*words):
        code = launch.main([
            "train",
            f"--image={ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/name@sha256:{'0' * 64}",
            f"--role=arn:aws:iam::{ACCOUNT}:role/training",
            f"--data={reviews}",
            f"--job-name={JOB}",
            *map(str, words),
        ])  # fmt: skip
        return code, *capsys.readouterr()

    return run


def log(*lines, time=START):
    """Write to the job's log as its container would."""
    logs = boto3.client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=LOG_GROUP)
        logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=LOG_STREAM)
    events = [{"timestamp": int(time * 1000), "message": line} for line in lines]
    logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=LOG_STREAM, logEvents=events)


@pytest.fixture
def job_state(monkeypatch):
    """What moto says of every job, to be changed by the test; its own jobs are Completed at once."""
    state = {}
    describe = SageMakerModelBackend.describe_training_job

    def describe_changed(self, training_job_name):
        return describe(self, training_job_name) | state

    monkeypatch.setattr(SageMakerModelBackend, "describe_training_job", describe_changed)
    return state


def keys(bucket=BUCKET):
    return [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_train_uploads_the_data_runs_the_job_and_says_where_the_model_is(train):
    log("epoch=1; accuracy=0.9;")
    code, out, err = train("--instance-count=2", "epochs=2")
    assert (code, err) == (0, "")
    assert keys() == [f"text-classification/{JOB}/input/train/reviews.tsv"]
    job = boto3.client("sagemaker").describe_training_job(TrainingJobName=JOB)
    assert job["HyperParameters"] == {"epochs": "2"}
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert "epoch=1; accuracy=0.9;" in out
    model = f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz"
    assert out.splitlines()[-1] == f"Job {JOB} is completed: {model}"


def test_folders_are_uploaded_whole_each_to_its_channel(train, tmp_path):
    for file in ("model/config.json", "model/model.safetensors", "validation/inner/rows.tsv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    code, _, err = train("--validation", tmp_path / "validation", "--model", tmp_path / "model")
    assert (code, err) == (0, "")
    prefix = f"text-classification/{JOB}/input"
    assert keys() == [
        f"{prefix}/model/config.json",
        f"{prefix}/model/model.safetensors",
        f"{prefix}/train/reviews.tsv",
        f"{prefix}/validation/inner/rows.tsv",
    ]


def test_the_log_is_followed_while_the_job_runs(train, job_state, clock):
    clock.plan = [
        (START + 30, lambda: log("epoch=1; accuracy=0.8;", time=clock.now)),
        (START + 70, lambda: log("epoch=2; accuracy=0.9;", time=clock.now)),
        (START + 100, lambda: job_state.update(TrainingJobStatus="Completed")),
    ]
    job_state.update(TrainingJobStatus="InProgress", SecondaryStatus="Training")
    code, out, err = train()
    assert (code, err) == (0, "")
    assert clock.plan == []
    assert out.index("epoch=1; accuracy=0.8;") < out.index("epoch=2; accuracy=0.9;") < out.index("is completed")


def test_a_failed_job_shows_its_log_and_its_reason(train, job_state):
    log("the last line")
    reason = "AlgorithmError: Your data: row 3 of reviews.tsv has no label"
    job_state.update(TrainingJobStatus="Failed", SecondaryStatus="Failed", FailureReason=reason)
    code, out, err = train()
    assert code == launch.FAILED
    assert "the last line" in out
    assert err == f"launch.py: job {JOB} ended as Failed. {reason}\n"


def test_a_stopped_job_is_no_success(train, job_state):
    job_state.update(TrainingJobStatus="Stopped", SecondaryStatus="MaxRuntimeExceeded")
    code, _, err = train()
    assert code == launch.FAILED
    assert err == f"launch.py: job {JOB} ended as Stopped. its last status is MaxRuntimeExceeded\n"


def test_an_interrupt_leaves_the_job_and_says_how_to_stop_it(train, monkeypatch):
    def interrupted(*arguments):
        raise Interrupted(2)

    monkeypatch.setattr(sdk, "fit", interrupted)
    code, _, err = train()
    assert code == 130
    assert f"stop-training-job --region {REGION} --training-job-name {JOB}" in err


# -- buckets


def test_an_own_bucket_is_used_but_never_made(train):
    code, _, err = train("--bucket=my-bucket")
    assert code == launch.WRONG_USE
    assert err == "launch.py: the bucket my-bucket does not exist; create it, or give another --bucket\n"
    boto3.client("s3").create_bucket(Bucket="my-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert train("--bucket=my-bucket")[0] == 0
    assert keys("my-bucket") == [f"text-classification/{JOB}/input/train/reviews.tsv"]


def test_the_default_bucket_of_a_stranger_is_refused(train, monkeypatch):
    refuse(monkeypatch, "HeadBucket", "403", "Forbidden", status=403)
    code, _, err = train()
    assert code == launch.WRONG_USE
    assert err == f"launch.py: the bucket {BUCKET} is not yours to use; give another --bucket\n"


def test_the_default_bucket_is_asked_for_with_its_owner(train, monkeypatch):
    calls = record(monkeypatch)
    assert train()[0] == 0
    assert {"Bucket": BUCKET, "ExpectedBucketOwner": ACCOUNT} in [
        arguments for operation, arguments in calls if operation == "HeadBucket"
    ]


# -- what AWS refuses


def record(monkeypatch):
    calls = []
    call = botocore.client.BaseClient._make_api_call

    def recorded(self, operation, arguments):
        calls.append((operation, arguments))
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    return calls


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
        ("AccessDeniedException", "ask for that permission"),
        ("ExpiredTokenException", "log in again"),
        ("ResourceLimitExceeded", "ask for a higher quota under Service Quotas, or take another --instance-type"),
        ("ValidationException", "change that and start again"),
    ],
)
def test_what_aws_refuses_is_one_sentence_with_a_remedy(train, monkeypatch, code, remedy):
    refuse(monkeypatch, "CreateTrainingJob", code, "It will not do.")
    exit_code, _, err = train()
    assert exit_code == launch.WRONG_USE
    assert err == f"launch.py: AWS refused CreateTrainingJob ({code}: It will not do); {remedy}\n"


def test_a_missing_network_is_one_sentence(train, monkeypatch):
    fail(monkeypatch, "HeadBucket", EndpointConnectionError(endpoint_url="https://s3.amazonaws.com"))
    code, _, err = train()
    assert code == launch.WRONG_USE
    assert "Could not connect to the endpoint URL" in err
    assert err.endswith("check the region, the network and your AWS profile\n")


def test_a_refused_upload_is_one_sentence(train, monkeypatch):
    refuse(monkeypatch, "PutObject", "AccessDenied", "Access Denied")
    code, _, err = train()
    assert code == launch.WRONG_USE
    assert err.endswith("check the bucket and your permission to write to it\n")
    assert err.count("\n") == 1


def test_missing_credentials_are_one_sentence(train, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    code, _, err = train()
    assert code == launch.WRONG_USE
    assert err == "launch.py: there are no AWS credentials; run `aws configure`, or set AWS_PROFILE\n"


def test_a_misspelt_profile_is_one_sentence(train, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    code, _, err = train()
    assert code == launch.WRONG_USE
    assert "The config profile (nobody) could not be found" in err
    assert err.count("\n") == 1
