"""aws/template.yaml and what puts it up and takes it down: cfn-lint, and moto as CloudFormation."""

import boto3
import pytest
from cfnlint.decode import cfn_yaml
from moto import mock_aws

from launcher import request, stack

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")
REGION, ACCOUNT = "eu-west-1", "123456789012"


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def run(capsys, *words):
    return stack.main([*words, "--region", REGION]), *capsys.readouterr()


@pytest.fixture
def outputs(capsys):
    """Put the stack up."""
    code, out, err = run(capsys, "up")
    assert (code, err) == (0, "")
    return dict(line.split() for line in out.splitlines())


def test_the_bucket_is_closed_and_images_are_scanned():
    """Read from the template: moto leaves these parts out."""
    resources = cfn_yaml.load(str(stack.TEMPLATE))["Resources"]
    [statement] = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    bucket = resources["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert resources["Repository"]["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True}
    prefixes = [rule["Prefix"] for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
    assert prefixes == ["checkpoints/"]
    assert request.checkpoints_uri("bucket", "base", "job").startswith("s3://bucket/checkpoints/")


def test_up_makes_all_that_a_job_needs(outputs, capsys):
    s3, bucket = boto3.client("s3"), outputs["Bucket"]
    assert bucket == f"text-classification-{ACCOUNT}-{REGION}"
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    [repository] = boto3.client("ecr").describe_repositories()["repositories"]
    assert repository["repositoryUri"] == outputs["Repository"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert outputs["Role"].startswith(f"arn:aws:iam::{ACCOUNT}:role/")

    assert run(capsys, "up")[0] == 0  # a second time changes nothing


def test_down_deletes_it(outputs, capsys):
    assert run(capsys, "down") == (0, "The stack text-classification is deleted\n", "")
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    code, _, err = run(capsys, "down")
    assert code == 3
    assert (
        err
        == f"stack: there is no stack text-classification in {REGION}; give its --region, or its name with --stack\n"
    )


def test_down_keeps_what_people_made_unless_told(outputs, capsys):
    s3 = boto3.client("s3")
    s3.put_object(Bucket=outputs["Bucket"], Key="model.tar.gz", Body=b"x")
    code, _, err = run(capsys, "down")
    assert code == 3
    assert "holds 1 objects" in err
    assert "--with-contents" in err
    assert s3.list_objects_v2(Bucket=outputs["Bucket"])["KeyCount"] == 1
    assert run(capsys, "down", "--with-contents")[0] == 0
    assert s3.list_buckets()["Buckets"] == []
