"""Errors of AWS: one sentence with a remedy."""

import os
import subprocess
import sys

import pytest
from botocore.exceptions import EndpointConnectionError

import launch
from launcher import ROOT
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


@pytest.fixture
def profiles(monkeypatch, tmp_path):
    """Write ~/.aws/config, without other credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    return lambda text: (tmp_path / "config").write_text(text)


def test_the_region_of_the_profile_comes_after_flag_and_variables(command, profiles, monkeypatch):
    profiles("[default]\nregion = eu-central-1\n[profile far]\nregion = eusc-de-east-1\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert "No job in eu-central-1 has a name with" in command("list")[2]
    monkeypatch.setenv("AWS_PROFILE", "far")
    assert "No job in eusc-de-east-1 has a name with" in command("list")[2]
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert "No job in us-east-2 has a name with" in command("list")[2]


@pytest.mark.parametrize("name", [None, "mine"])
def test_an_sso_login_that_has_expired_names_the_command(command, profiles, monkeypatch, name):
    section = f"profile {name}" if name else "default"
    profiles(
        f"[{section}]\nregion = eu-west-1\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://x.awsapps.com/start\n"
    )
    if name:
        monkeypatch.setenv("AWS_PROFILE", name)
    expected = f"run `aws sso login{' --profile mine' if name else ''}` and try again"
    assert_one_sentence(command("list"), launch.REFUSED, "the AWS SSO login has expired", expected)


def test_without_a_terminal_mfa_is_one_sentence(profiles, tmp_path):
    """As a process without a terminal of its own."""
    profiles(
        "[profile mfa]\nregion = eu-west-1\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "list"],
        env=os.environ | {"AWS_PROFILE": "mfa"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, start_new_session=True,
    )  # fmt: skip
    assert_one_sentence((done.returncode, done.stdout, done.stderr), launch.REFUSED, "the profile needs an MFA code")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z"),
        ("InvalidSignatureException", "Signature not yet current: 20260101T010000Z is still later than 2026"),
        ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
        ("RequestExpired", "Request has expired."),
    ],
)
def test_a_wrong_clock_is_named(train, monkeypatch, code, message):
    refuse(monkeypatch, "CreateTrainingJob", code, message)
    assert_one_sentence(train(), launch.REFUSED, "the clock of this machine is wrong", "set the clock")
