"""The AWS resources as one CloudFormation stack, from aws/template.yaml: bucket, repository, role and policy.

python -m launcher.aws.stack up --region R [--parameter NAME=VALUE]   creates or updates it and prints its outputs
python -m launcher.aws.stack down --region R [--with-contents]        deletes it [with all data, models and images]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from launcher import ROOT, program
from launcher.aws import client
from launcher.errors import REFUSED, Refused
from launcher.plan import checks
from launcher.plan.checks import parse_assignment
from text_classifier.contract.errors import UserError

TEMPLATE = ROOT / "aws" / "template.yaml"
STACK = "text-classification"


def up(region: str, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create or update the stack and return its outputs. Parameters that are not given keep their value.

    Raises Refused.
    """
    cloudformation = client.create("cloudformation", region)
    stack = {"StackName": name, "TemplateBody": TEMPLATE.read_text(), "Capabilities": ["CAPABILITY_IAM"]}
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    with client.one_sentence():
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
        outputs = _outputs(cloudformation, name)
    assert outputs is not None, name
    return outputs


def down(region: str, name: str, with_contents: bool) -> None:
    """Delete the stack. Raises Refused if bucket or repository are not empty, unless `with_contents`."""
    cloudformation = client.create("cloudformation", region)
    with client.one_sentence():
        outputs = _outputs(cloudformation, name)
        if outputs is None:
            raise Refused(f"there is no stack {name} in {region}; give its --region, or its name with --stack")
        _empty(region, outputs, with_contents)
        cloudformation.delete_stack(StackName=name)
        _wait(cloudformation, "stack_delete_complete", name)


def _empty(region: str, outputs: dict[str, str], with_contents: bool) -> None:
    """Delete the contents: CloudFormation deletes neither a bucket nor a repository that is not empty."""
    bucket, repository = outputs["Bucket"], outputs["Repository"].partition("/")[2]
    s3, ecr = client.create("s3", region), client.create("ecr", region)
    objects = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [{"Key": entry["Key"]} for page in objects for entry in page.get("Contents", [])]
    pages = ecr.get_paginator("list_images").paginate(repositoryName=repository)
    images = [image for page in pages for image in page["imageIds"]]
    if (keys or images) and not with_contents:
        raise Refused(
            f"the bucket {bucket} has {len(keys)} objects and the repository {repository} {len(images)} images; "
            "save what you need, then delete everything with CONTENTS=delete (--with-contents)"
        )
    for start in range(0, len(keys), 1000):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[start : start + 1000], "Quiet": True})
    for start in range(0, len(images), 100):
        ecr.batch_delete_image(repositoryName=repository, imageIds=images[start : start + 100])


def _describe(cloudformation: Any, name: str) -> dict[str, Any] | None:
    try:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return stack


def _outputs(cloudformation: Any, name: str) -> dict[str, str] | None:
    stack = _describe(cloudformation, name)
    return stack and {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _wait(cloudformation: Any, state: str, name: str) -> None:
    try:
        cloudformation.get_waiter(state).wait(StackName=name, WaiterConfig={"Delay": 5, "MaxAttempts": 120})
    except WaiterError as error:
        raise Refused(f"the stack {name} failed ({error}); see its events in the CloudFormation console") from None


def main(words: list[str] | None = None) -> int:
    """Exit codes: 0 done, 3 refused."""
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
    return 0


if __name__ == "__main__":
    program.run("stack", main)
