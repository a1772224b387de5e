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
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from failures import UserError
from launcher import aws

ECR_HOST = re.compile(r"[0-9]{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


def ensure_repository(region: str, name: str) -> str:
    """The registry host of the repository, which is created (immutable tags, scan on push) if missing."""
    account = aws.client("sts", region).get_caller_identity()["Account"]
    ecr = aws.client("ecr", region)
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
    answer = aws.client("ecr", region).get_authorization_token()["authorizationData"][0]
    token_host = urlsplit(answer["proxyEndpoint"]).hostname
    if token_host != host:
        raise UserError(f"The ECR token is for {token_host}, not {host}: check the credentials and the region.")
    return base64.b64decode(answer["authorizationToken"]).decode().partition(":")[2]


def require_ecr_host(host: str, region: str) -> None:
    matched = ECR_HOST.fullmatch(host)
    if not matched or matched["region"] != region:
        raise UserError(f"No token is sent to {host}: it is not the host of an ECR registry in {region}.")


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
        print(f"ecr: {aws.explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
