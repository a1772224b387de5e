"""The AWS resources as one CloudFormation stack, from aws/template.yaml: bucket, repository, role and policy.

python -m launcher.aws.stack up --region R [--parameter NAME=VALUE]   creates or updates it and prints its outputs
python -m launcher.aws.stack down --region R [--with-contents]        deletes it [with all data, models and images]
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from launcher import ROOT, program
from launcher.aws import client
from launcher.errors import REFUSED, SIGNAL, Refused
from launcher.plan import checks
from launcher.plan.checks import parse_assignment
from text_classifier.contract.errors import UserError

TEMPLATE = ROOT / "aws" / "template.yaml"
STACK = "text-classification"


def up(region: str, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create or update the stack and return its outputs. Parameters that are not given keep their value.

    Raises Refused.
    """
    stack = {"StackName": name, "TemplateBody": TEMPLATE.read_text(), "Capabilities": ["CAPABILITY_IAM"]}
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    with client.one_sentence():
        cloudformation = client.create("cloudformation", region)
        found = _describe(cloudformation, name)
        if found is None:
            cloudformation.create_stack(**stack, Parameters=given, OnFailure="DELETE")
            _wait(cloudformation, "stack_create_complete", name)
        else:
            kept = [
                {"ParameterKey": entry["ParameterKey"], "UsePreviousValue": True}
                for entry in found.get("Parameters", [])
                if entry["ParameterKey"] not in parameters
            ]
            try:
                cloudformation.update_stack(**stack, Parameters=given + kept)
            except ClientError as error:
                if "No updates are to be performed" not in str(error):
                    raise
            else:
                _wait(cloudformation, "stack_update_complete", name)
        found = _describe(cloudformation, name)
    assert found is not None, name
    return _outputs(found)


def down(region: str, name: str, with_contents: bool) -> None:
    """Delete the stack. Raises Refused if bucket or repository are not empty, unless `with_contents`."""
    with client.one_sentence():
        cloudformation = client.create("cloudformation", region)
        found = _describe(cloudformation, name)
        if found is None:
            raise Refused(f"there is no stack {name} in {region}; give its --region, or its name with --stack")
        if not _outputs(found):
            raise Refused(
                f"the stack {name} is {found['StackStatus']} and has no outputs; try again when that has ended, or "
                "delete it in the CloudFormation console"
            )
        _empty(region, _outputs(found), with_contents)
        cloudformation.delete_stack(StackName=name)
        _wait(cloudformation, "stack_delete_complete", name)


def _empty(region: str, outputs: dict[str, str], with_contents: bool) -> None:
    """Delete the contents: CloudFormation deletes neither a bucket nor a repository that is not empty.

    A bucket with versioning is empty without any version of an object, also of a deleted one. Raises Refused.
    """
    bucket, repository = outputs["Bucket"], outputs["Repository"].partition("/")[2]
    s3, ecr = client.create("s3", region), client.create("ecr", region)
    versions = [
        {"Key": entry["Key"], "VersionId": entry["VersionId"]}
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
    ]
    pages = ecr.get_paginator("list_images").paginate(repositoryName=repository)
    images = [image for page in pages for image in page["imageIds"]]
    if (versions or images) and not with_contents:
        raise Refused(
            f"the bucket {bucket} has {len(versions)} objects (with all versions) and the repository {repository} "
            f"{len(images)} images; save what you need, then delete everything with CONTENTS=delete (--with-contents)"
        )
    for start in range(0, len(versions), 1000):
        done = s3.delete_objects(Bucket=bucket, Delete={"Objects": versions[start : start + 1000], "Quiet": True})
        for error in done.get("Errors", []):
            raise _not_deleted(f"s3://{bucket}/{error['Key']}", error.get("Code"), error.get("Message"))
    for start in range(0, len(images), 100):
        done = ecr.batch_delete_image(repositoryName=repository, imageIds=images[start : start + 100])
        for error in done.get("failures", []):
            image = error["imageId"].get("imageTag") or error["imageId"].get("imageDigest")
            raise _not_deleted(
                f"the image {image} of {repository}", error.get("failureCode"), error.get("failureReason")
            )


def _not_deleted(what: str, code: str | None, message: str | None) -> Refused:
    reason = f"{code}: {message}".rstrip(".")
    return Refused(f"{what} is not deleted ({reason}); remove what keeps it, and run the command again")


def _describe(cloudformation: Any, name: str) -> dict[str, Any] | None:
    try:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return stack


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _wait(cloudformation: Any, state: str, name: str) -> None:
    try:
        cloudformation.get_waiter(state).wait(StackName=name, WaiterConfig={"Delay": 5, "MaxAttempts": 120})
    except WaiterError as error:
        raise Refused(f"the stack {name} failed ({error}); see its events in the CloudFormation console") from None


def main(words: list[str] | None = None) -> int:
    """Exit codes: 0 done, 3 refused, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m launcher.aws.stack")
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--region", required=True)
    parser.add_argument("--stack", default=STACK, metavar="NAME", help="name of the stack (default: %(default)s)")
    parser.add_argument("--with-contents", action="store_true", help="delete all data, models and images too")
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        type=parse_assignment,
        metavar="NAME=VALUE",
        help="parameter of the template",
    )
    options = parser.parse_args(words)
    try:
        checks.region(options.region)
        if options.command == "down":
            down(options.region, options.stack, options.with_contents)
            print(f"Deleted the stack {options.stack}")
        else:
            for output, value in up(options.region, options.stack, dict(options.parameter)).items():
                print(f"{output:13} {value}")
    except (Refused, UserError) as error:
        print(f"stack: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(
            f"stack: interrupted; AWS finishes what it has begun: see the stack {options.stack} in the CloudFormation "
            "console",
            file=sys.stderr,
        )
        return SIGNAL + signal.SIGINT
    return 0


if __name__ == "__main__":
    program.run("stack", main)
