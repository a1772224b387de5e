"""Fixtures and helpers for the tests of launch.py's commands; tests/unit/launcher/conftest.py imports the fixtures."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError

import launch
from launcher import ROOT
from launcher.aws import follow
from support import sagemaker_stub
from support.fake_clock import Clock

REGION, ACCOUNT, JOB = "eu-west-1", "123456789012", "reviews-1"
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/name@sha256:{'0' * 64}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/training"


@pytest.fixture
def no_aws(monkeypatch):
    """No AWS settings of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def clock(monkeypatch):
    """A fake clock for the commands, and boto3's retries without pauses."""
    clock = Clock()
    monkeypatch.setattr(follow, "time", clock)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    return clock


@pytest.fixture
def command(capsys):
    """Run launch.py; returns the exit code, stdout and stderr."""

    def run(*words):
        try:
            code = launch.main([str(word) for word in words])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def reviews(tmp_path):
    file = tmp_path / "reviews.tsv"
    file.write_text("label\ttext\npositive\tgood\n")
    return file


@pytest.fixture
def plan(command, reviews):
    """Run `launch.py plan` without its checks; returns the exit code, the request as JSON (or stdout), and stderr."""

    def run(*words, image=IMAGE, role=ROLE, data=reviews):
        arguments = [f"--image={image}", f"--role={role}", f"--data={data}", *words]
        code, out, err = command("plan", "--skip-checks", "--json", *arguments)
        return code, json.dumps(json.loads(out)["request"]) if code == 0 else out, err

    return run


def isolated_launch(*words, environment=None):
    """Run launch.py as a process whose interpreter has no packages installed."""
    return subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "launch.py"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def assert_one_sentence(result, code, *parts):
    """The exit code, and one line on stderr with these parts."""
    assert result[0] == code, result
    assert result[2].count("\n") == 1
    for part in parts:
        assert part in result[2]


# -- SageMaker, simulated


@pytest.fixture
def aws_stub(monkeypatch, tmp_path):
    """An empty account with credentials in the environment; every job completes at once."""
    monkeypatch.chdir(tmp_path)
    services = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "APPLICATION_AUTO_SCALING", "CLOUDWATCH_LOGS")
    with sagemaker_stub.account(monkeypatch, REGION, *services) as running:
        running.describe_hook = lambda job: job.update(
            TrainingJobStatus="Completed",
            SecondaryStatus="Completed",
            ModelArtifacts={"S3ModelArtifacts": f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz"},
        )
        yield running


@pytest.fixture
def train(command, reviews):
    """Run `launch.py train` on one file."""

    def run(*words, name=JOB):
        checks = ("--skip-checks", "--skip-data-check")
        of_job = (f"--image={IMAGE}", f"--role={ROLE}", f"--data={reviews}", f"--job-name={name}")
        return command("train", *checks, *of_job, *words)

    return run


@pytest.fixture
def job(aws_stub):
    """A running job."""
    aws_stub.describe_hook = lambda job: None
    aws_stub.answer(
        "CreateTrainingJob",
        {
            "TrainingJobName": JOB,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/text-classification"},
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        },
    )
    return aws_stub.jobs[JOB]


@pytest.fixture
def completed(aws_stub):
    """A completed job with its bucket, without the time that `train` takes."""
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    aws_stub.answer(
        "CreateTrainingJob",
        {"TrainingJobName": JOB, "RoleArn": ROLE, "AlgorithmSpecification": {"TrainingImage": IMAGE}},
    )


def keys(bucket=BUCKET):
    """The keys of all objects in a bucket."""
    return [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def refuse(monkeypatch, operation, code, message, status=400):
    """Let every call of an operation end with an error response of AWS."""
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    fail(monkeypatch, operation, ClientError(response, operation))


def fail(monkeypatch, operation, error):
    """Let every call of an operation raise an exception."""

    def fail():
        raise error

    _replace(monkeypatch, operation, fail)


def answer(monkeypatch, operation, response):
    """Let every call of an operation return this response."""
    _replace(monkeypatch, operation, lambda: response)


def _replace(monkeypatch, operation, do):
    call = botocore.client.BaseClient._make_api_call

    def make_call(self, called, arguments):
        return do() if called == operation else call(self, called, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_call)


# -- Docker, faked


def fake_docker(folder: Path, cases: str) -> None:
    """Write a `docker` into a folder that responds by the arms of a shell `case "$*"`."""
    folder.mkdir(exist_ok=True)
    file = folder / "docker"
    file.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) exit 0 ;;\nesac\n')
    file.chmod(0o755)


@pytest.fixture
def docker_log(monkeypatch, tmp_path):
    """Make a `docker` whose `run` writes its arguments to a file, one per line, and exits with `code`."""

    def make(code=0, says="", cases=""):
        log = tmp_path / "docker.log"
        run = f"run*) printf '%s\\n' \"$@\" >{log}; printf '{says}' >&2; exit {code} ;;"
        fake_docker(tmp_path / "bin", f"{cases}\n{run}")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return log

    return make


def write_archive(path, *members):
    """Write a tar archive of members (name, tarfile's type); the content of a file is its name."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            content = name.encode() if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
