"""Checks everything that a job needs, and changes nothing. Each finding says what to do about it."""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from failures import UserError
from launcher import ROOT, aws, checks, engine, request, submission
from launcher.errors import Refused

OK, WARNING, FAILED = "ok", "warning", "failed"

DOCKER_V2 = "application/vnd.docker.distribution.manifest.v2+json"
#: Asked for beside it, so that a wrong kind is told apart from a missing image.
_OTHER_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
_FREE_BYTES = 15 * 10**9
_PUBLIC_ACCESS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Finding:
    """What a check found. `text` holds the remedy, unless the level is `ok`."""

    check: str
    level: str
    text: str


def examine(options: argparse.Namespace, parallel_jobs: int = 1) -> Iterator[Finding]:
    """All checks: of the settings, of AWS, of this machine."""
    here = _begin("local mode", _local_mode)
    yield from examine_aws(options, parallel_jobs)
    yield from here.result()


def report(options: argparse.Namespace, prints: bool, parallel_jobs: int = 1) -> list[Finding]:
    """All findings, each printed at once as a line if so wanted."""
    findings = []
    for finding in examine(options, parallel_jobs):
        findings.append(finding)
        if prints:
            print(f"{finding.level:7}  {finding.check:13}  {finding.text}", flush=True)
    return findings


def require_health(findings: Sequence[Finding]) -> None:
    """Raise Refused when a check failed."""
    failed = sum(finding.level == FAILED for finding in findings)
    if failed:
        raise Refused(f"{failed} of {len(findings)} checks failed; each line says what to do")


def examine_aws(options: argparse.Namespace, parallel_jobs: int = 1) -> Iterator[Finding]:
    """The checks that so many jobs in AWS depend on. Without credentials the rest is left out."""
    yield from _asked("settings", lambda: _settings(options))
    try:
        region = submission.region_of(options)
    except UserError as error:
        yield Finding("region", FAILED, str(error))
        return
    accounts: list[str] = []
    yield from _asked("credentials", lambda: _credentials(region, accounts))
    if not accounts:
        return
    bucket = options.bucket or f"sagemaker-{region}-{accounts[0]}"
    asked = [
        _begin("region", lambda: _region(region)),
        _begin("role", lambda: _role(region, options.role, accounts[0])),
        _begin("bucket", lambda: _bucket(region, bucket, is_default=not options.bucket)),
        _begin("image", lambda: _image(options.image)),
        _begin("instance type", lambda: _instance_type(region, options.instance_type)),
        _begin("quota", lambda: _quotas(region, options, parallel_jobs * options.instance_count)),
    ]
    for answer in asked:
        yield from answer.result()


def _begin(check: str, ask: Callable[[], Iterator[Finding]]) -> Future[list[Finding]]:
    """Begin a check beside others.

    Its thread is a daemon, as an executor's is not: who interrupts the program does not wait for AWS.
    """
    answer: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            answer.set_result(list(_asked(check, ask)))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def _asked(check: str, ask: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds. One that may not look is a warning: others may have the permission, as the role has."""
    try:
        yield from ask()
    except UserError as error:
        yield Finding(check, FAILED, str(error))
    except (BotoCoreError, ClientError) as error:
        yield Finding(check, WARNING if aws.code_of(error) in aws.DENIED else FAILED, aws.explain(error))


def _settings(options: argparse.Namespace) -> Iterator[Finding]:
    submission.check_settings(options)
    spot = f"spot, waiting at most {options.max_wait or 2 * options.max_run} s" if options.spot else "on demand"
    yield Finding("settings", OK, f"{spot}, running at most {options.max_run} s")


def _credentials(region: str, accounts: list[str]) -> Iterator[Finding]:
    identity = aws.client("sts", region).get_caller_identity()
    accounts.append(identity["Account"])
    yield Finding("credentials", OK, f"{identity['Arn']} of account {identity['Account']}")


def _region(region: str) -> Iterator[Finding]:
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
        yield Finding("region", WARNING, f"SageMaker is not known to be in {region}; check --region, or renew boto3")


def _role(region: str, role: str | None, account: str) -> Iterator[Finding]:
    if not role:
        yield Finding("role", WARNING, "none is given; name the job's execution role with --role")
        return
    checks.role(role)
    if request.account_of_role(role) != account:
        raise UserError(f"{role} is not of your account {account}, and cannot be passed; take a role of that account")
    iam = aws.client("iam", region)
    try:
        found = iam.get_role(RoleName=role.rpartition("/")[2])["Role"]
    except iam.exceptions.NoSuchEntityException:
        raise UserError(f"{role} does not exist; create it (`make aws-up` does), or correct --role") from None
    if found["Arn"] != role:
        raise UserError(f"{role} does not exist, but {found['Arn']} does; correct --role")
    if not _trusts_sagemaker(found["AssumeRolePolicyDocument"]):
        raise UserError(f"{role} does not trust sagemaker.amazonaws.com; add that to its trust policy")
    yield Finding("role", OK, f"{role} trusts SageMaker")


def _trusts_sagemaker(policy: dict[str, Any]) -> bool:
    for statement in _listed(policy["Statement"]):
        services = _listed(statement.get("Principal", {}).get("Service", []))
        if statement["Effect"] == "Allow" and "sagemaker.amazonaws.com" in services:
            return True
    return False


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _bucket(region: str, bucket: str, is_default: bool) -> Iterator[Finding]:
    checks.bucket(bucket)
    s3 = aws.client("s3", region)
    try:
        answer = s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        status = aws.status_of(error)
        if status == 404 and is_default:
            yield Finding("bucket", OK, f"{bucket}, which `train` will create")
            return
        if status == 404:
            raise UserError(f"the bucket {bucket} does not exist; create it, or give another --bucket") from None
        if status == 403:
            raise UserError(f"the bucket {bucket} is not yours to use; give another --bucket") from None
        raise
    place = answer.get("BucketRegion") or answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", region)
    if place != region:
        raise UserError(f"the bucket {bucket} is in {place}, the job in {region}; give a --bucket in {region}")
    if _blocks_public_access(s3, bucket):
        yield Finding("bucket", OK, f"{bucket} in {region}, not public")
    elif _is_public(s3, bucket):
        raise UserError(f"the bucket {bucket} is public; switch on Block Public Access, or give another --bucket")
    else:
        yield Finding("bucket", WARNING, f"{bucket} does not block public access; switch on Block Public Access")


def _blocks_public_access(s3: Any, bucket: str) -> bool:
    try:
        settings = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if aws.code_of(error) == "NoSuchPublicAccessBlockConfiguration":
            return False
        raise
    return all(settings.get(name) for name in _PUBLIC_ACCESS)


def _is_public(s3: Any, bucket: str) -> bool:
    try:
        return s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    except ClientError as error:
        if aws.code_of(error) == "NoSuchBucketPolicy":
            return False
        raise


def _image(image: str | None) -> Iterator[Finding]:
    if not image:
        yield Finding("image", WARNING, "none is given; name the image in ECR with --image")
        return
    checks.pinned_image(image)
    region = request.region_of_image(image)
    if not region:
        yield Finding("image", WARNING, f"{image} is not in ECR, where SageMaker looks; push it with `make push`")
        return
    host, _, path = image.partition("/")
    repository, separator, version = path.partition("@") if "@" in path else path.rpartition(":")
    which = {"imageDigest": version} if separator == "@" else {"imageTag": version}
    ecr = aws.client("ecr", region)
    place = {"registryId": host.split(".")[0], "repositoryName": repository}
    try:
        found = ecr.batch_get_image(imageIds=[which], acceptedMediaTypes=[DOCKER_V2, *_OTHER_MANIFESTS], **place)
    except ecr.exceptions.RepositoryNotFoundException:
        raise UserError(f"there is no repository {repository} in {host}; push the image with `make push`") from None
    if not found["images"]:
        raise UserError(f"{image} does not exist; push it with `make push`, or correct --image")
    media_type = found["images"][0].get("imageManifestMediaType")
    if media_type != DOCKER_V2:
        raise UserError(f"{image} is of type {media_type}, which SageMaker may reject; push it with `make push`")
    digest = json.loads(found["images"][0]["imageManifest"])["config"]["digest"]
    url = ecr.get_download_url_for_layer(layerDigest=digest, **place)["downloadUrl"]
    platform = _platform(url)
    if platform != "linux/amd64":
        raise UserError(f"{image} is for {platform}; build it for linux/amd64 (`make build`), and push it")
    yield Finding("image", OK, f"{image} is there, Docker v2 and linux/amd64")


def _platform(config_url: str) -> str:
    try:
        with urllib.request.urlopen(config_url, timeout=30) as answer:
            config = json.load(answer)
    except (OSError, ValueError) as error:
        raise UserError(f"the image's platform could not be read from ECR ({error}); check the network") from None
    return f"{config.get('os')}/{config.get('architecture')}"


def _instance_type(region: str, name: str) -> Iterator[Finding]:
    checks.instance_type(name)
    known = aws.client("sagemaker", region).meta.service_model.shape_for("TrainingInstanceType").enum
    if name in known:
        yield Finding("instance type", OK, name)
    else:
        yield Finding("instance type", WARNING, f"{name} is not known to boto3; check --instance-type, or renew boto3")


def _quotas(region: str, options: argparse.Namespace, needed: int) -> Iterator[Finding]:
    kind = "spot training job" if options.spot else "training job"
    wanted = [f"{options.instance_type} for {kind} usage"]
    if options.keep_alive:
        wanted.append(f"{options.instance_type} for training warm pool usage")
    values = _values_of_quotas(region, set(wanted))
    for name in wanted:
        if name not in values:
            yield Finding("quota", WARNING, f"there is no quota {name!r} in {region}; look under Service Quotas")
        elif values[name] < needed:
            yield Finding(
                "quota",
                FAILED,
                f"{name!r} is {values[name]:g} in {region}, and {needed} are needed; ask for more "
                "under Service Quotas, or take another --instance-type",
            )
        else:
            yield Finding("quota", OK, f"{name!r} is {values[name]:g}")


def _values_of_quotas(region: str, names: set[str]) -> dict[str, float]:
    """Search page by page: there are thousands, and Service Quotas finds none by its name."""
    found: dict[str, float] = {}
    pages = (
        aws.client("service-quotas", region)
        .get_paginator("list_service_quotas")
        .paginate(ServiceCode="sagemaker", PaginationConfig={"PageSize": 100})
    )
    for page in pages:
        found |= {quota["QuotaName"]: quota["Value"] for quota in page["Quotas"] if quota["QuotaName"] in names}
        if len(found) == len(names):
            break
    return found


def _local_mode() -> Iterator[Finding]:
    """Docker, Compose and disk, which a job in AWS does not need: what is missing is a warning."""
    try:
        engine.require_engine()
        with engine.compose_for_sdk():
            yield Finding("docker", OK, "an engine and Compose answer")
    except UserError as error:
        yield Finding("docker", WARNING, f"local mode will not run: {error}")
    free = shutil.disk_usage(ROOT).free
    enough = free >= _FREE_BYTES
    text = f"{free / 10**9:.0f} GB are free"
    yield Finding("disk", OK if enough else WARNING, text if enough else f"only {text}; building the image needs 15")
