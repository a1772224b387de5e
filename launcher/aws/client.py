"""AWS through boto3: clients that try again, and errors in one sentence. Import it where it is used: it takes time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from launcher.errors import Refused
from text_classifier.contract.errors import UserError

try:
    import boto3
    from boto3.exceptions import S3UploadFailedError
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )
    from botocore.exceptions import ConnectionError as UnreachableError
except ImportError as error:
    raise UserError(
        f"{error.name} is not installed in this Python; run `make venv`, then .venv/bin/python launch.py"
    ) from None

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
UNKNOWN_IDENTITY = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}
THROTTLED = {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}

#: The first try and those after throttling, a 5xx or a broken connection, with growing, random pauses between
#: them: at most 111 s together when throttled, 26 s else (botocore's "standard" mode).
ATTEMPTS = 10

#: Clients may be used by several threads at once, but not made by them.
_MAKING = threading.Lock()


def client(service: str, region: str, read_timeout: int = 60) -> Any:
    """A client that tries again what may pass by itself. 20 s of latency are no error."""
    config = Config(
        connect_timeout=10, read_timeout=read_timeout, retries={"mode": "standard", "total_max_attempts": ATTEMPTS}
    )
    with _MAKING:
        return boto3.client(service, region_name=region, config=config)


def code_of(error: Exception) -> str:
    """The code of what AWS answered, or nothing when it did not answer."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


def status_of(error: ClientError) -> int:
    """The HTTP status of what AWS answered."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def may_pass(error: Exception) -> bool:
    """Whether the same call can succeed later, with nothing changed."""
    if isinstance(error, ClientError):
        return code_of(error) in THROTTLED or status_of(error) in (429, 500, 502, 503, 504)
    return isinstance(error, (HTTPClientError, UnreachableError))


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what boto3 raises into Refused."""
    try:
        yield
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        raise Refused(explain(error)) from None


def explain(error: Exception) -> str:
    """One sentence with the remedy for what boto3 raises."""
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials were found; run `aws configure` or `aws sso login`, or set AWS_PROFILE"
    if isinstance(error, PartialCredentialsError):
        return f"the AWS credentials are not complete ({_first_line(error)}); set both keys, or AWS_PROFILE"
    if isinstance(error, ProfileNotFound):
        return f"{_first_line(error)}; set AWS_PROFILE to a profile of ~/.aws/config"
    if isinstance(error, ClientError):
        return _explain_answer(error)
    if isinstance(error, S3UploadFailedError):
        return f"{_first_line(error)}; check the bucket and your permission to write to it"
    if isinstance(error, (HTTPClientError, UnreachableError)):
        return f"AWS does not answer ({_first_line(error)}); check the region's name and the network"
    return f"AWS could not be asked ({_first_line(error)}); check the AWS configuration"


def _explain_answer(error: ClientError) -> str:
    code = code_of(error)
    said = f"AWS refused {error.operation_name} ({code}: {error.response['Error'].get('Message', '').rstrip('.')})"
    said = said.splitlines()[0] if said else said
    if code in EXPIRED:
        return "the AWS credentials have expired; get new ones (`aws sso login`, for example) and try again"
    if code in UNKNOWN_IDENTITY:
        return f"AWS does not accept the credentials ({code}); check AWS_PROFILE or the access keys"
    if code in DENIED:
        return f"{said}; ask for that permission"
    if code == "ResourceLimitExceeded":
        return f"{said}; ask for a higher quota under Service Quotas, or take another --instance-type"
    if may_pass(error):
        return f"{said} {ATTEMPTS} times; try again later"
    return f"{said}; correct what it names"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
