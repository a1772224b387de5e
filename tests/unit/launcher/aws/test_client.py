"""Errors of AWS: one sentence with a remedy."""

import os
import pty
import subprocess
import sys

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    ParamValidationError,
    ProxyConnectionError,
    SSLError,
)
from moto.server import ThreadedMotoServer

import launch
from launcher import ROOT
from launcher.aws import client
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
        ("OptInRequired", "enable the service and the region in the account"),
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
def profiles(aws_stub, tmp_path):
    """Write ~/.aws/config, without other credentials."""
    with pytest.MonkeyPatch.context() as patch:  # undone before aws_stub ends, which needs its variables
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path))
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        patch.setattr("boto3.DEFAULT_SESSION", None)
        yield lambda text: (tmp_path / "config").write_text(text)


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


MFA_PROFILE = (
    "[profile mfa]\nregion = eu-west-1\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
    "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
)


def test_without_a_terminal_mfa_is_one_sentence(profiles, tmp_path):
    """As a process without a terminal of its own."""
    profiles(MFA_PROFILE)
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
    ],
)
def test_a_wrong_clock_is_named(train, monkeypatch, code, message):
    refuse(monkeypatch, "CreateTrainingJob", code, message)
    assert_one_sentence(train(), launch.REFUSED, "the clock of this machine is wrong", "set the clock")


@pytest.fixture
def moto():
    """The address of an AWS on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def at_a_terminal(command, environment):
    """Run a shell command at a terminal of its own, at which an MFA code is typed for each prompt; its output."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve("/bin/sh", ["/bin/sh", "-c", command], environment)
    output = b""
    try:
        while data := os.read(terminal, 4096):
            output += data
            if b"MFA code" in data:
                os.write(terminal, b"123456\n")
    except OSError:  # the end of the terminal
        pass
    os.waitpid(process, 0)
    os.close(terminal)
    return output.decode()


def test_at_a_terminal_mfa_is_asked_for_once(profiles, moto):
    """A push is several processes, and the next command another one: one code for all of them."""
    profiles(MFA_PROFILE)
    environment = os.environ | {"AWS_PROFILE": "mfa", "AWS_ENDPOINT_URL": moto}
    ecr = f"{sys.executable} -m launcher.aws.ecr"
    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    push = f"{ecr} prepare --region eu-west-1 --repository reviews && {ecr} password --region eu-west-1 --host {host}"
    output = at_a_terminal(f"cd {ROOT}; {push} && echo && {sys.executable} launch.py list", environment)
    assert output.count("Enter MFA code") == 1
    assert "amazonaws.com" in output and "No job in eu-west-1" in output


@pytest.mark.parametrize(
    ("settings", "variables", "sentence"),
    [
        ("credential_process = /no/such", {}, "No such file or directory: '/no/such'"),
        ("credential_process = sh -c 'echo boom >&2; exit 3'", {}, "custom-process: boom"),
        ("credential_process = echo hello", {}, "JSONDecodeError: Expecting value"),
        ("credential_process = echo '[1]'", {}, "the AWS credentials cannot be read: "),
        ("credential_process = echo '{\"Version\": 1}'", {}, "Error when retrieving credentials from custom-process"),
        ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}, "'/no/token'"),
        ("", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"}, "Unsupported host 'example.com'"),
    ],
)
def test_credentials_that_cannot_be_read_name_their_source(
    command, profiles, monkeypatch, settings, variables, sentence
):
    profiles(f"[default]\nregion = eu-west-1\n{settings}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert_one_sentence(command("list"), launch.REFUSED, sentence, "correct the source of the credentials")


@pytest.mark.parametrize(
    ("operation", "code", "message", "sentence"),
    [
        ("DescribeSubnets", "RequestExpired", "Request has expired.", "have expired, or the clock of this machine"),
        ("PutObject", "InvalidAccessKeyId", "It does not exist", "AWS does not accept the credentials"),
        ("DescribeSubnets", "AuthFailure", "It is not valid", "AWS does not accept the credentials"),
        ("ListTrainingJobs", "InvalidSignatureException", "It does not match", "AWS does not accept the credentials"),
        ("AssumeRoleWithWebIdentity", "ExpiredTokenException", "Token expired", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("AssumeRoleWithWebIdentity", "InvalidIdentityToken", "No provider", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("AssumeRole", "AccessDenied", "MultiFactorAuthentication failed with invalid code", "the next code"),
        ("HeadBucket", "400", "Bad Request", "usually the credentials have expired"),
        ("HeadObject", "403", "Forbidden", "ask for that permission"),
    ],
)
def test_credentials_that_aws_refuses(operation, code, message, sentence):
    assert sentence in client.explain(ClientError({"Error": {"Code": code, "Message": message}}, operation))


def test_what_boto3_itself_refuses_is_said():
    error = ParamValidationError(report="Invalid length for parameter name, value: 1")
    assert "(Parameter validation failed: Invalid length for parameter name, value: 1)" in client.explain(error)


def test_a_proxy_and_a_certificate_are_named():
    assert "HTTPS_PROXY" in client.explain(ProxyConnectionError(proxy_url="http://p", error="x"))
    assert "AWS_CA_BUNDLE" in client.explain(SSLError(endpoint_url="https://x", error="x"))
