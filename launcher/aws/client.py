"""AWS through boto3: clients with retries, and errors as one sentence. Import it where it is used: it takes time."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.errors import LostContact, Refused
from text_classifier.contract.errors import UserError

try:
    import boto3
    import botocore.credentials
    import botocore.session
    from boto3.exceptions import RetriesExceededError, S3UploadFailedError
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
        ProxyConnectionError,
        SSLError,
        SSOError,
        TokenRetrievalError,
    )
    from botocore.exceptions import ConnectionError as UnreachableError
except ImportError as error:
    raise UserError(
        f"{error.name} is not installed in this Python; run `make venv` and use .venv/bin/python launch.py"
    ) from None


class NoTerminalForMfa(BotoCoreError):
    """The profile needs a code, and there is nobody to ask for it."""

    fmt = "the profile needs an MFA code, and there is no terminal to ask for it"


class UnreadableCredentials(BotoCoreError):
    """A source of credentials that botocore fails at with an exception that is not its own."""

    fmt = "the AWS credentials cannot be read: {reason}"


EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
#: The clocks of this machine and of AWS differ.
SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
UNKNOWN_IDENTITY = {
    "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException",
    "InvalidAccessKeyId", "InvalidToken", "AuthFailure", "MissingAuthenticationToken", "IncompleteSignature",
}  # fmt: skip
NOT_ENABLED = {"OptInRequired", "SubscriptionRequiredException"}
WRONG_WEB_IDENTITY = {"InvalidIdentityToken", "IDPRejectedClaim", "IDPCommunicationError"}
THROTTLED = {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "ForbiddenException", "403"}

#: Tries in all, after throttling, a 5xx or a broken connection, with exponential backoff and jitter: at most 111 s
#: in all when throttled, 26 s otherwise (botocore's "standard" mode).
ATTEMPTS = 10

#: Threads may share clients but not create them at the same time.
_CREATING = threading.Lock()


def create(service: str, region: str, read_timeout: int = 60) -> Any:
    """A client that retries transient errors. 20 s of latency are not an error."""
    config = Config(
        connect_timeout=10, read_timeout=read_timeout, retries={"mode": "standard", "total_max_attempts": ATTEMPTS}
    )
    with _CREATING:
        _load_credentials()
        return session().client(service, region_name=region, config=config)


def session() -> boto3.Session:
    """boto3's default session. Its credentials are read once a command, so that a code for MFA is asked for once.

    Credentials of an assumed role are kept in ~/.aws/cli/cache for the next command, as the aws command line does.
    """
    if boto3.DEFAULT_SESSION is None:
        core = botocore.session.get_session()
        provider = core.get_component("credential_provider").get_provider("assume-role")
        provider.cache = botocore.credentials.JSONFileCache()
        provider._prompter = _ask
        boto3.setup_default_session(botocore_session=core)
    return boto3.DEFAULT_SESSION


def _ask(prompt: str) -> str:
    """Ask for an MFA code at the terminal; getpass would read any other stdin. Raises NoTerminalForMfa."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        if not sys.stdin.isatty():
            raise NoTerminalForMfa() from None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise NoTerminalForMfa() from None


def _load_credentials() -> None:
    """Load the credentials, which the first call of a client would. Raises botocore's exceptions alone."""
    try:
        if credentials := session().get_credentials():
            credentials.get_frozen_credentials()
    except (BotoCoreError, ClientError):
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # credential_process prints no JSON
        raise UnreadableCredentials(reason=f"{type(error).__name__}: {_first_line(error)}") from None


def session_in(region: str) -> boto3.Session:
    """A session for this region with the credentials of `session`."""
    core = botocore.session.get_session()
    core._credentials = session().get_credentials()
    return boto3.Session(botocore_session=core, region_name=region)


def code_of(error: Exception) -> str:
    """The error code in the response of AWS; empty without a response."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


def status_of(error: ClientError) -> int:
    """The HTTP status of the response of AWS."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def region_of_bucket(response: Mapping[str, Any], default: str) -> str:
    """The region in AWS's response to HeadBucket, also in that of an error."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return response.get("BucketRegion") or headers.get("x-amz-bucket-region", default)


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, ClientError):
        return code_of(error) in THROTTLED or status_of(error) in (429, 500, 502, 503, 504)
    return isinstance(error, (HTTPClientError, UnreachableError))


#: What `explain` explains.
FAILURES = (BotoCoreError, ClientError, S3UploadFailedError, RetriesExceededError)


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turn boto3's exceptions into Refused."""
    try:
        yield
    except FAILURES as error:
        raise Refused(explain(error)) from None


@contextlib.contextmanager
def losing_contact() -> Iterator[None]:
    """Turn boto3's exceptions into LostContact: what was started runs without us."""
    try:
        yield
    except FAILURES as error:
        raise LostContact(explain(error)) from None


def explain(error: Exception) -> str:
    """One sentence with the remedy for an exception of boto3."""
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials were found; run `aws configure` or `aws sso login`, or set AWS_PROFILE"
    if isinstance(error, PartialCredentialsError):
        return f"the AWS credentials are incomplete ({_first_line(error)}); set both keys, or AWS_PROFILE"
    if isinstance(error, ProfileNotFound):
        return f"{_first_line(error)}; set AWS_PROFILE to a profile in ~/.aws/config"
    if isinstance(error, (SSOError, TokenRetrievalError)):
        return f"the AWS SSO login has expired, or there was none; run `aws sso login{_profile()}` and try again"
    if isinstance(error, (UnreadableCredentials, CredentialRetrievalError)):
        return (
            f"{_first_line(error)}; correct the source of the credentials (credential_process in ~/.aws/config, "
            "AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_CREDENTIALS_FULL_URI), or set AWS_PROFILE to another"
        )
    if isinstance(error, NoTerminalForMfa):
        return f"{error}; run the command at a terminal, or use temporary credentials (aws sts get-session-token)"
    if isinstance(error, ClientError):
        return _explain_answer(error)
    if isinstance(error, S3UploadFailedError):
        return f"{_first_line(error)}; check the bucket and your permission to write to it"
    if isinstance(error, ProxyConnectionError):
        return f"AWS does not respond ({_first_line(error)}); correct or unset HTTPS_PROXY"
    if isinstance(error, SSLError):
        return f"AWS's certificate is not accepted ({_first_line(error)}); set AWS_CA_BUNDLE to your network's CA file"
    if isinstance(error, (HTTPClientError, UnreachableError, RetriesExceededError)):
        return f"AWS does not respond ({_first_line(error)}); check the region's name and the network"
    return f"the request to AWS failed ({_first_line(error)}); check the AWS configuration"


def _profile() -> str:
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    return f" --profile {name}" if name else ""


def _explain_answer(error: ClientError) -> str:
    code = code_of(error)
    refusal = f"AWS refused {error.operation_name} ({code}: {error.response['Error'].get('Message', '').rstrip('.')})"
    refusal = refusal.splitlines()[0]
    message = error.response["Error"].get("Message", "")
    if code in WRONG_WEB_IDENTITY or (code in EXPIRED and error.operation_name == "AssumeRoleWithWebIdentity"):
        return f"{refusal}; write a new token to AWS_WEB_IDENTITY_TOKEN_FILE, and try again"
    if "MultiFactorAuthentication failed" in message:
        return "AWS does not accept the MFA code; wait for the next code of your device, and try again"
    if code == "RequestExpired":  # EC2 says so for both
        return (
            f"the AWS credentials have expired, or the clock of this machine is wrong: {refusal}; get new credentials "
            f"(e.g. `aws sso login{_profile()}`), or set the clock"
        )
    if code == "400" and error.operation_name.startswith("Head"):  # a response to HEAD has no body
        return (
            f"AWS refused {error.operation_name} and gave no reason; usually the credentials have expired: get new ones"
        )
    if code in SKEWED or any(text in message for text in ("Signature expired", "Signature not yet current")):
        return f"the clock of this machine is wrong: {refusal}; set the clock (timedatectl set-ntp true) and try again"
    if code in EXPIRED:
        return f"the AWS credentials have expired; get new ones (e.g. `aws sso login{_profile()}`) and try again"
    if code in UNKNOWN_IDENTITY:
        return (
            f"AWS does not accept the credentials ({code}); check AWS_PROFILE or the access keys, and whether the "
            "account has enabled the region"
        )
    if code in NOT_ENABLED:
        return f"{refusal}; enable the service and the region in the account (AWS Billing, AWS Account: Regions)"
    if code in DENIED:
        return f"{refusal}; ask for that permission"
    if code == "ResourceLimitExceeded":
        return f"{refusal}; request a quota increase in Service Quotas, or use another --instance-type"
    if is_transient(error):
        return f"{refusal} {ATTEMPTS} times; try again later"
    return f"{refusal}; correct that setting"


def _first_line(error: Exception) -> str:
    first, *others = str(error).splitlines() or [type(error).__name__]
    return (f"{first} {others[0]}" if first.endswith(":") and others else first).rstrip(".")
