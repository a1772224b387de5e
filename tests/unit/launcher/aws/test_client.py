"""Errors of AWS: one sentence with a remedy."""

import pytest
from botocore.exceptions import EndpointConnectionError

import launch
from support.launching import JOB, assert_one_sentence, fail, refuse

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (
            "AccessDeniedException",
            "CreateTrainingJob (AccessDeniedException: It will not do); ask for that permission",
        ),
        ("ExpiredTokenException", "the AWS credentials have expired; get new ones"),
        ("UnrecognizedClientException", "AWS does not accept the credentials"),
        ("ResourceLimitExceeded", "request a quota increase in Service Quotas, or use another --instance-type"),
        ("ValidationException", "correct that setting"),
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
