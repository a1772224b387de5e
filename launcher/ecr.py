"""Amazon ECR for build_and_push.sh: the repository to push to, and the password to log in with.

    python -m launcher.ecr prepare --region R --repository NAME   prints the registry's host
    python -m launcher.ecr password --region R --host HOST        prints the password, for --password-stdin

A module rather than the aws command line: boto3 is in .venv already, pinned and the same on every machine.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as UnreachableError

from failures import UserError

ECR_HOST = re.compile(r"[0-9]{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
UNKNOWN_IDENTITY = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}


def client(service: str, region: str) -> Any:
    config = Config(connect_timeout=10, read_timeout=30, retries={"mode": "standard", "max_attempts": 4})
    return boto3.client(service, region_name=region, config=config)


def ensure_repository(region: str, name: str) -> str:
    """The registry host of the repository, which is created (immutable tags, scan on push) if missing."""
    account = client("sts", region).get_caller_identity()["Account"]
    ecr = client("ecr", region)
    try:
        found = ecr.describe_repositories(registryId=account, repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        found = ecr.create_repository(
            repositoryName=name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )["repository"]
        print(f"Created the ECR repository {name} in {region}, account {account}.", file=sys.stderr)
    host = found["repositoryUri"].partition("/")[0]
    require_ecr_host(host, region)
    return host


def login_password(region: str, host: str) -> str:
    """The password of user AWS for this registry host, valid for twelve hours."""
    require_ecr_host(host, region)
    answer = client("ecr", region).get_authorization_token()["authorizationData"][0]
    token_host = urlsplit(answer["proxyEndpoint"]).hostname
    if token_host != host:
        raise UserError(f"The ECR token is for {token_host}, not {host}: check the credentials and the region.")
    return base64.b64decode(answer["authorizationToken"]).decode().partition(":")[2]


def require_ecr_host(host: str, region: str) -> None:
    matched = ECR_HOST.fullmatch(host)
    if not matched or matched["region"] != region:
        raise UserError(f"No token is sent to {host}: it is not the host of an ECR registry in {region}.")


def explain(error: Exception) -> str:
    """One sentence with the remedy for what boto3 raises."""
    if isinstance(error, NoCredentialsError):
        return "No AWS credentials were found: run 'aws configure' or 'aws sso login', or set AWS_PROFILE."
    if isinstance(error, ProfileNotFound):
        return f"{error}: set AWS_PROFILE to a profile of ~/.aws/config."
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        if code in EXPIRED:
            return "The AWS credentials have expired: get new ones ('aws sso login', for example) and try again."
        if code in UNKNOWN_IDENTITY:
            return f"AWS does not accept the credentials ({code}): check AWS_PROFILE or the access keys."
        if code.startswith("AccessDenied"):
            return f"The AWS identity may not do this, ask for the permission: {first_line(error)}"
        return f"AWS refused the request, correct what it names: {first_line(error)}"
    if isinstance(error, (HTTPClientError, UnreachableError)):
        return f"AWS does not answer: check the region's name and the network: {first_line(error)}"
    return f"AWS could not be asked, check the AWS configuration: {first_line(error)}"


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launcher.ecr")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="create the repository if missing, print the registry's host")
    prepare.add_argument("--repository", required=True)
    password = commands.add_parser("password", help="print the password that docker login reads from stdin")
    password.add_argument("--host", required=True)
    for command in (prepare, password):
        command.add_argument("--region", required=True)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        if arguments.command == "prepare":
            print(ensure_repository(arguments.region, arguments.repository))
        else:
            print(login_password(arguments.region, arguments.host))
    except UserError as error:
        print(f"ecr: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError, ValueError) as error:
        print(f"ecr: {explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
