"""Read-only checks of an AWS account: credentials, region, role, bucket, image, instance type, quotas.

A check yields findings; it raises UserError or boto3's exceptions for what cannot work.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from launcher.aws import client
from launcher.aws.finding import FAILED, OK, WARNING, Finding
from launcher.aws.manifest import DOCKER_V2
from launcher.plan import checks, request
from text_classifier.contract.errors import UserError

#: Requested besides Docker v2, to tell an image with a wrong manifest type from a missing image.
_OTHER_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
_PUBLIC_ACCESS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def check_credentials(region: str, accounts: list[str]) -> Iterator[Finding]:
    """The caller's identity; appends the account number to `accounts`."""
    identity = client.create("sts", region).get_caller_identity()
    accounts.append(identity["Account"])
    yield Finding("credentials", OK, f"{identity['Arn']} in account {identity['Account']}")


def check_region(region: str) -> Iterator[Finding]:
    """Whether SageMaker is available in the region."""
    import boto3

    session = boto3.Session()
    known = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("sagemaker", partition_name=partition)
    ]
    if region in known:
        yield Finding("region", OK, region)
    else:
        yield Finding("region", WARNING, f"boto3 knows no SageMaker in {region}; check --region, or update boto3")


def check_role(region: str, role: str | None, account: str) -> Iterator[Finding]:
    """Whether the role exists, is in this account, and trusts SageMaker."""
    if not role:
        yield Finding("role", WARNING, "not given; give the job's execution role with --role")
        return
    checks.role(role)
    if request.account_of_role(role) != account:
        raise UserError(
            f"{role} is not in your account {account} and cannot be passed to SageMaker; use a role of that account"
        )
    iam = client.create("iam", region)
    try:
        found = iam.get_role(RoleName=role.rpartition("/")[2])["Role"]
    except iam.exceptions.NoSuchEntityException:
        raise UserError(f"{role} does not exist; create it (`make aws-up`), or correct --role") from None
    if found["Arn"] != role:
        raise UserError(f"{role} does not exist, but {found['Arn']} does; correct --role")
    trust = _trust(found["AssumeRolePolicyDocument"], account)
    if trust is None:
        raise UserError(f"{role} does not trust sagemaker.amazonaws.com; add it to the trust policy")
    if trust == _EVERYONE:
        how = "trusts everyone (Principal *, or NotPrincipal)"
        yield Finding("role", WARNING, f"{role} {how}; name sagemaker.amazonaws.com instead")
    else:
        yield Finding("role", OK, f"{role} trusts SageMaker")


_EVERYONE, _SAGEMAKER = "*", "sagemaker.amazonaws.com"


def _trust(policy: Any, account: str) -> str | None:
    """The principal by which the trust policy lets SageMaker in this account assume the role; None if it does not.

    A policy's statements, principals and actions are each one value or a list, a principal may be `*`, and NotPrincipal
    and NotAction stand for all others. Of conditions only that on the account is evaluated.
    """
    document = json.loads(unquote(policy)) if isinstance(policy, str) else policy
    trusted = None
    for statement in _listed(document.get("Statement", [])):
        found = _trusted(statement)
        if not (_assumes(statement) and found):
            continue
        if statement.get("Effect") == "Deny" and not statement.get("Condition"):
            return None
        if statement.get("Effect") == "Allow" and trusted != _SAGEMAKER and account in _accounts(statement, account):
            trusted = found
    return trusted


def _trusted(statement: Any) -> str | None:
    """The principal of a statement that SageMaker is, or is among."""
    if "NotPrincipal" in statement:
        excluded = _principals(statement["NotPrincipal"])
        return None if _SAGEMAKER in excluded or _EVERYONE in excluded else _EVERYONE
    principals = _principals(statement.get("Principal", {}))
    return next((name for name in (_SAGEMAKER, _EVERYONE) if name in principals), None)


def _assumes(statement: Any) -> bool:
    """Whether a statement is about sts:AssumeRole."""
    is_inverted = "NotAction" in statement
    actions = [str(action) for action in _listed(statement.get("NotAction" if is_inverted else "Action", []))]
    return is_inverted != any(fnmatchcase("sts:assumerole", action.lower()) for action in actions)


def _accounts(statement: Any, account: str) -> list[Any]:
    """The accounts that the statement's conditions allow; `account` without such a condition."""
    for operator, test in statement.get("Condition", {}).items():
        for key, value in test.items():
            if operator == "StringEquals" and key.lower() == "aws:sourceaccount":
                return _listed(value)
    return [account]


def _principals(principal: Any) -> list[Any]:
    """The services, and `*` for everyone."""
    if not isinstance(principal, dict):
        return _listed(principal)
    everyone = [name for name in _listed(principal.get("AWS", [])) if name == _EVERYONE]
    return [*_listed(principal.get("Service", [])), *everyone]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_bucket(region: str, bucket: str, is_default: bool) -> Iterator[Finding]:
    """Whether the bucket exists, is in the region, and is not public."""
    checks.bucket(bucket)
    s3 = client.create("s3", region)
    try:
        place = client.region_of_bucket(s3.head_bucket(Bucket=bucket), region)
    except ClientError as error:
        status = client.status_of(error)
        if status == 404 and is_default:
            yield Finding("bucket", OK, f"{bucket} will be created by `train`")
            return
        if status == 404:
            raise UserError(f"the bucket {bucket} does not exist; create it, or give another --bucket") from None
        if status == 403:
            raise UserError(
                f"the bucket {bucket} is not accessible with these credentials; give another --bucket"
            ) from None
        raise
    if place != region:
        raise UserError(f"the bucket {bucket} is in {place}, but the job runs in {region}; give a --bucket in {region}")
    if _blocks_public_access(s3, bucket):
        yield Finding("bucket", OK, f"{bucket} in {region}, not public")
    elif _is_public(s3, bucket):
        raise UserError(f"the bucket {bucket} is public; turn on Block Public Access, or give another --bucket")
    else:
        yield Finding("bucket", WARNING, f"{bucket} does not block public access; turn on Block Public Access")


def _blocks_public_access(s3: Any, bucket: str) -> bool:
    try:
        settings = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if client.code_of(error) == "NoSuchPublicAccessBlockConfiguration":
            return False
        raise
    return all(settings.get(name) for name in _PUBLIC_ACCESS)


def _is_public(s3: Any, bucket: str) -> bool:
    try:
        return s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    except ClientError as error:
        if client.code_of(error) == "NoSuchBucketPolicy":
            return False
        raise


def check_image(region: str, image: str | None) -> Iterator[Finding]:
    """Whether the image is in ECR, in this region, and SageMaker can run it."""
    if not image:
        yield Finding("image", WARNING, "not given; give the image in ECR with --image")
        return
    checks.pinned_image(image)
    if not request.region_of_image(image):
        yield Finding("image", WARNING, f"{image} is not in ECR, from which SageMaker pulls; push it with `make push`")
        return
    checks.image_region(image, region)
    host, _, path = image.partition("/")
    repository, separator, version = path.partition("@") if "@" in path else path.rpartition(":")
    which = {"imageDigest": version} if separator == "@" else {"imageTag": version}
    ecr = client.create("ecr", region)
    place = {"registryId": host.split(".")[0], "repositoryName": repository}
    try:
        found = ecr.batch_get_image(imageIds=[which], acceptedMediaTypes=[DOCKER_V2, *_OTHER_MANIFESTS], **place)
    except ecr.exceptions.RepositoryNotFoundException:
        raise UserError(f"there is no repository {repository} in {host}; push the image with `make push`") from None
    if not found["images"]:
        raise UserError(f"{image} does not exist; push it with `make push`, or correct --image")
    media_type = found["images"][0].get("imageManifestMediaType")
    if media_type != DOCKER_V2:
        raise UserError(f"{image} has manifest type {media_type}, which SageMaker may reject; push it with `make push`")
    digest = json.loads(found["images"][0]["imageManifest"])["config"]["digest"]
    url = ecr.get_download_url_for_layer(layerDigest=digest, **place)["downloadUrl"]
    platform = _platform(url)
    if platform != "linux/amd64":
        raise UserError(f"{image} is for {platform}; build it for linux/amd64 (`make build`) and push it")
    yield Finding("image", OK, f"{image} exists, Docker v2, linux/amd64")


def _platform(config_url: str) -> str:
    try:
        with urllib.request.urlopen(config_url, timeout=30) as answer:
            config = json.load(answer)
    except (OSError, ValueError) as error:
        raise UserError(f"could not read the image's platform from ECR ({error}); check the network") from None
    return f"{config.get('os')}/{config.get('architecture')}"


def check_instance_type(region: str, name: str) -> Iterator[Finding]:
    """Whether the instance type exists and the image's CUDA supports it."""
    checks.instance_type(name)
    known = client.create("sagemaker", region).meta.service_model.shape_for("TrainingInstanceType").enum
    if name in known:
        yield Finding("instance type", OK, name)
    else:
        yield Finding("instance type", WARNING, f"unknown to boto3: {name}; check --instance-type, or update boto3")


def check_quotas(region: str, options: argparse.Namespace, needed: int) -> Iterator[Finding]:
    """Whether the quotas allow `needed` instances at the same time."""
    kind = "spot training job" if options.spot else "training job"
    wanted = [f"{options.instance_type} for {kind} usage"]
    if options.keep_alive:
        wanted.append(f"{options.instance_type} for training warm pool usage")
    values = _values_of_quotas(region, set(wanted))
    for name in wanted:
        if name not in values:
            yield Finding("quota", WARNING, f"there is no quota {name!r} in {region}; check Service Quotas")
        elif values[name] < needed:
            yield Finding(
                "quota",
                FAILED,
                f"{name!r} is {values[name]:g} in {region}, but {needed} are needed; request an "
                "increase in Service Quotas, or use another --instance-type",
            )
        else:
            yield Finding("quota", OK, f"{name!r} is {values[name]:g}")


def check_serving_quotas(region: str, instance_types: Iterable[str]) -> Iterator[Finding]:
    """The quotas of `deploy` and `transform` for these instance types. That of an idle account is often 0."""
    wanted = [f"{name} for {use} usage" for name in instance_types for use in ("endpoint", "transform job")]
    values = _values_of_quotas(region, set(wanted))
    for name in wanted:
        if not values.get(name):
            known = f"{name!r} is 0 in {region}" if name in values else f"there is no quota {name!r} in {region}"
            yield Finding("serving", WARNING, f"{known}; request an increase in Service Quotas before you serve on it")
        else:
            yield Finding("serving", OK, f"{name!r} is {values[name]:g}")


def _values_of_quotas(region: str, names: set[str]) -> dict[str, float]:
    """Search all pages: there are thousands of quotas, and Service Quotas has no filter by name."""
    found: dict[str, float] = {}
    pages = (
        client.create("service-quotas", region)
        .get_paginator("list_service_quotas")
        .paginate(ServiceCode="sagemaker", PaginationConfig={"PageSize": 100})
    )
    for page in pages:
        found |= {quota["QuotaName"]: quota["Value"] for quota in page["Quotas"] if quota["QuotaName"] in names}
        if len(found) == len(names):
            break
    return found
