"""The time launch.py takes as a process, with an AWS latency of 0.1 s."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from launcher import ROOT
from launcher.aws import manifest
from support import sagemaker_stub

REGION, ACCOUNT, JOB = "eu-west-1", "123456789012", "reviews-1"
DIGEST = "sha256:" + "0" * 64
QUOTA = "ml.g5.xlarge for training job usage"


@pytest.fixture
def account(monkeypatch, tmp_path):
    """Environment variables of an account without problems; its quota is in the middle of 2,000."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=10).close()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with sagemaker_stub.running() as stub:
        variables |= {f"AWS_ENDPOINT_URL_{name}": stub.url for name in ("ECR", "SERVICE_QUOTAS", "SAGEMAKER")}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_PROFILE", "PYTHONDONTWRITEBYTECODE"):
            monkeypatch.delenv(name, raising=False)
        statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        boto3.setup_default_session()
        boto3.client("iam").create_role(RoleName="training", AssumeRolePolicyDocument=trust)
        stub.images[DIGEST] = {"mediaType": manifest.DOCKER_V2, "architecture": "amd64"}
        for number in range(2000):
            stub.quotas[QUOTA if number == 1000 else f"quota {number}"] = 2.0
        stub.jobs[JOB] = {
            "TrainingJobName": JOB,
            "TrainingJobStatus": "InProgress",
            "CreationTime": 1795377797,
            "OutputDataConfig": {"S3OutputPath": "s3://b/text-classification"},
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        }
        stub.is_slow, stub.latency_seconds = True, 0.1
        yield
    server.stop()


def seconds(*words):
    """The seconds of the fastest of three runs: other load on this machine only adds to it."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        command = [sys.executable, str(ROOT / "launch.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stdout + done.stderr
        times.append(time.monotonic() - start)
    return min(times)


def test_plan_with_all_checks_takes_less_than_four_seconds(account, tmp_path):
    (tmp_path / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/name@{DIGEST}"
    words = [f"--image={image}", f"--role=arn:aws:iam::{ACCOUNT}:role/training", f"--data={tmp_path / 'reviews.tsv'}"]
    took = seconds("plan", *words)
    print(f"plan took {took:.2f} s")
    assert took < 4


def test_status_takes_less_than_three_seconds_and_help_a_third_of_one(account):
    took, help_took = seconds("status", JOB), seconds("--help")
    print(f"status took {took:.2f} s, --help {help_took:.2f} s")
    assert took < 3
    assert help_took < 0.3
