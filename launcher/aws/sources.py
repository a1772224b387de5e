"""Data that is in S3 already: what lies there, and whether the job may read it. Nothing is changed or copied."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher.aws import client
from launcher.aws.finding import OK, WARNING, Finding
from launcher.plan import inputs, submission
from launcher.plan.s3 import Listing, S3Uri, needed
from text_classifier.contract.errors import UserError

#: Pages of a thousand keys.
_MAX_PAGES = 20


def look(options: argparse.Namespace) -> None:
    """List the S3 URIs among the options into `options.listings`; an error takes the place of a listing.

    A URI without a slash at its end becomes that of a folder if it names one.
    """
    region = submission.region_of(options)
    for name, uri in inputs.s3_sources(options).items():
        try:
            listing = find(client.create("s3", region), inputs.FLAGS[name], uri, region)
        except (UserError, BotoCoreError, ClientError) as error:
            options.listings[name] = error
        else:
            options.listings[name] = listing
            setattr(options, inputs.OPTION_OF_CHANNEL[name], listing.uri)


def find(s3: Any, flag: str, uri: S3Uri, region: str) -> Listing:
    """List a URI. Raises UserError where a job in this region cannot read it, or has nothing to read."""
    _require_bucket(s3, flag, uri, region)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=uri.bucket, Prefix=uri.key)
    sizes: dict[str, int] = {}
    is_complete = True
    for number, page in enumerate(pages, start=1):
        sizes |= {entry["Key"]: entry["Size"] for entry in page.get("Contents", [])}
        if number == _MAX_PAGES and page.get("IsTruncated"):
            is_complete = False
            break
    meant = _meant(flag, uri, sizes)
    objects = needed(meant, {key: size for key, size in sizes.items() if key.startswith(meant.key)})
    if not objects:
        what = "nothing" if not sizes else "no object with rows"
        wildcard = "; S3 has no wildcards, so give the folder" if "*" in uri.key else ""
        raise UserError(f"{flag} {uri}: there is {what} at this URI; correct it, or put the data there{wildcard}")
    if flag == "--model" and not any(name.endswith(("config.json", ".tar.gz")) for name in objects):
        raise UserError(
            f"{flag} {uri} is not a model folder: it has no config.json; give the URI of a folder written by "
            "save_pretrained"
        )
    return Listing(meant, objects, is_complete)


def _require_bucket(s3: Any, flag: str, uri: S3Uri, region: str) -> None:
    try:
        place = client.region_of_bucket(s3.head_bucket(Bucket=uri.bucket), region)
    except ClientError as error:
        status = client.status_of(error)
        if status == 404:
            raise UserError(f"{flag} {uri}: the bucket {uri.bucket} does not exist; correct the URI") from None
        if status == 403:
            raise UserError(
                f"{flag} {uri}: the bucket {uri.bucket} is not accessible with these credentials; ask its owner for "
                "s3:ListBucket and s3:GetObject"
            ) from None
        if status != 301:
            raise
        place = client.region_of_bucket(error.response, "another region")
    if place != region:
        raise UserError(
            f"{flag} {uri}: the bucket is in {place}, but the job runs in {region}, and SageMaker reads from its own "
            f"region only; copy the data there, or train with --region {place}"
        )


def _meant(flag: str, uri: S3Uri, sizes: dict[str, int]) -> S3Uri:
    """SageMaker reads every key that begins with the URI's; take a folder for a folder, an object for itself."""
    if uri == uri.as_folder:
        return uri
    if uri.key not in sizes:
        folder = uri.as_folder
        return folder if any(key.startswith(folder.key) for key in sizes) else uri
    others = [key for key in sizes if key != uri.key]
    if others:
        raise UserError(
            f"{flag} {uri}: SageMaker would read s3://{uri.bucket}/{others[0]} too, whose name begins like this "
            "object's; put the object into a folder of its own"
        )
    return uri


def check(options: argparse.Namespace, name: str) -> Iterator[Finding]:
    """What lies at the URI of a channel, and whether the job's role may read it. Raises what `look` met."""
    listing = options.listings[name]
    if isinstance(listing, Exception):
        raise listing
    inputs.check_volume(options)
    level, access = _access(options, listing)
    yield Finding(name, level, f"{listing.uri} in {submission.region_of(options)}: {listing}; {access}")


def _access(options: argparse.Namespace, listing: Listing) -> tuple[str, str]:
    if not options.role:
        return OK, "without --role it is unknown whether the job may read them"
    arn = f"arn:{options.role.split(':')[1]}:s3:::{listing.uri.bucket}"
    key = listing.uri.folder + next(iter(listing.objects))
    iam = client.create("iam", submission.region_of(options))
    try:
        decisions = {
            action: iam.simulate_principal_policy(
                PolicySourceArn=options.role, ActionNames=[action], ResourceArns=[resource]
            )["EvaluationResults"][0]["EvalDecision"]
            for action, resource in (("s3:ListBucket", arn), ("s3:GetObject", f"{arn}/{key}"))
        }
    except (BotoCoreError, ClientError) as error:
        return OK, f"it is unknown whether the role may read them ({client.code_of(error) or type(error).__name__})"
    refused = [action for action, decision in decisions.items() if decision != "allowed"]
    if "explicitDeny" in decisions.values():
        raise UserError(f"{listing.uri}: {options.role} is denied {' and '.join(refused)}; change its policies")
    if refused:
        return WARNING, (
            f"the policies of the role do not allow {' and '.join(refused)}; allow it (make aws-up "
            f"PARAMETERS=DataBuckets={arn}), unless the bucket's policy does"
        )
    return OK, "the role may read them"
