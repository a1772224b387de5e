"""Read-only checks of the network and the keys of a job: subnets, security groups and KMS keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from botocore.exceptions import ClientError

from launcher.aws import client
from launcher.aws.finding import OK, Finding
from text_classifier.contract.errors import UserError

#: Subnet or group that does not exist, or whose ID has another form.
_WRONG_ID = ("InvalidSubnetID", "InvalidSubnetId", "InvalidGroup", "InvalidGroupId", "InvalidSecurityGroupID")


def check_network(region: str, subnets: Sequence[str], groups: Sequence[str]) -> Iterator[Finding]:
    """Whether subnets and security groups exist, in one VPC."""
    ec2 = client.create("ec2", region)
    networks = {
        identifier: found["VpcId"]
        for flag, identifiers, look in (
            ("--subnet", subnets, lambda one: ec2.describe_subnets(SubnetIds=[one])["Subnets"]),
            ("--security-group", groups, lambda one: ec2.describe_security_groups(GroupIds=[one])["SecurityGroups"]),
        )
        for identifier in identifiers
        for found in _found(flag, identifier, look, region)
    }
    first, *others = dict.fromkeys(networks.values())
    if others:
        places = ", ".join(f"{identifier} in {network}" for identifier, network in networks.items())
        raise UserError(f"subnets and security groups are not in one VPC ({places}); give those of one VPC")
    yield Finding("network", OK, f"{', '.join(networks)} in {first}")


def _found(flag: str, identifier: str, look: Any, region: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = look(identifier)
    except ClientError as error:
        if client.code_of(error).partition(".")[0] not in _WRONG_ID:
            raise
        found = []
    if not found:
        raise UserError(f"{flag} {identifier} does not exist in {region}; correct it, or --region")
    return found


def check_key(region: str, flag: str, key: str) -> Iterator[Finding]:
    """Whether a KMS key exists and can encrypt."""
    kms = client.create("kms", region)
    try:
        found = kms.describe_key(KeyId=key)["KeyMetadata"]
    except ClientError as error:
        code = client.code_of(error)
        if code in ("NotFoundException", "InvalidArnException", "InvalidKeyId"):
            raise UserError(f"{flag} {key} does not exist in {region}; correct it, or --region") from None
        raise
    if found.get("KeyState", "Enabled") != "Enabled":
        raise UserError(f"{flag} {key} is {found['KeyState']}; enable it, or give another key")
    if found.get("KeyUsage", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT" or found.get("KeySpec", "").startswith("RSA"):
        raise UserError(f"{flag} {key} is not a symmetric encryption key; give one that is")
    yield Finding("key", OK, f"{key} for {flag}")
