"""The commands of launch.py for endpoints: deploy, endpoints, undeploy."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from launcher.aws import client, endpoints
from launcher.aws.commands import confirm, messages_to_stderr, print_result, sagemaker_of
from launcher.errors import COMPLETED, LostContact
from launcher.plan import endpoint, submission
from launcher.plan.endpoint import Deployment, Source
from launcher.plan.s3 import S3Uri, location
from launcher.signals import Aborted, StopSignals
from text_classifier.contract.errors import UserError


def deploy(options: argparse.Namespace) -> int:
    """Create the endpoint exactly once, and wait until it is in service."""
    with messages_to_stderr(options):
        deployment = _deployment(options)
        if options.plan:
            return _print_plan(deployment, options)
        confirm(deployment.summary(options.price), options)
        sagemaker, name, region = sagemaker_of(options), deployment.name, deployment.region
        with StopSignals(Aborted), _report_detaching(name, region):
            is_new = endpoints.create(sagemaker, deployment)
            print(f"Endpoint {name} {'is being created' if is_new else 'already exists'}", flush=True)
            found = endpoints.wait(sagemaker, name)
            endpoints.require_in_service(client.create("logs", region), found, region)
            with client.one_sentence():
                summary = endpoints.summary(sagemaker, found, region, options.price)
        print_result(summary, options)
        print(f"Endpoint {name} is in service; `launch.py undeploy {name} --region {region}` deletes it")
    return COMPLETED


def _deployment(options: argparse.Namespace) -> Deployment:
    """The requests for a job's model, or for a model.tar.gz in S3. Raises UserError or Refused."""
    try:
        place = location(options.model)
    except ValueError as error:
        raise UserError(str(error)) from None
    if isinstance(place, S3Uri):
        missing = [flag for flag, value in (("--image", options.image), ("--role", options.role)) if not value]
        if missing:
            raise UserError(f"a model in S3 needs {' and '.join(missing)}; a job's name needs neither")
        if not place.key.endswith(".tar.gz"):
            raise UserError(f"{place} is not a model.tar.gz; give the URI of the archive")
        source, name = Source(str(place), options.image, options.role), options.name or endpoint.name_for(place)
        if not name:
            raise UserError("the endpoint needs a name; give --name")
        return endpoint.create(options, source, name)
    found = endpoints.source_of(sagemaker_of(options), options.model)
    source = Source(
        found.model_data,
        options.image or found.image,
        options.role or found.role,
        found.vpc,
        found.is_network_isolated,
    )
    return endpoint.create(options, source, options.name or options.model)


def _print_plan(deployment: Deployment, options: argparse.Namespace) -> int:
    if options.json:
        [variant] = deployment.config["ProductionVariants"]
        plan = {"requests": deployment.requests, "bill": endpoint.bill(variant, deployment.region, options.price)}
        print(json.dumps(plan, indent=2), file=options.result)
    else:
        print(f"{deployment.summary(options.price)}\n\n{json.dumps(deployment.requests, indent=2)}")
    return COMPLETED


@contextlib.contextmanager
def _report_detaching(name: str, region: str) -> Iterator[None]:
    """Tell the user what happens to the endpoint when this command ends before it is in service."""
    remove = f"`launch.py undeploy {name} --region {region}` deletes it"
    try:
        yield
    except LostContact as error:
        raise LostContact(
            f"lost contact with endpoint {name}, which is billed if it was created: {error}; the same command goes on, "
            f"{remove}"
        ) from None
    except Aborted:
        print(
            f"launch.py: endpoint {name} is created and billed if it was started; the same command goes on, {remove}",
            file=sys.stderr,
        )
        raise


def undeploy(options: argparse.Namespace) -> int:
    """Delete an endpoint with its configuration and model."""
    sagemaker, region = sagemaker_of(options), submission.region_of(options)
    print(f"Deleting endpoint {options.name} in {region}", flush=True)
    try:
        with StopSignals(Aborted):
            kinds = endpoints.delete(sagemaker, options.name, region)
    except Aborted:
        print(f"launch.py: interrupted; `launch.py undeploy {options.name}` deletes the rest", file=sys.stderr)
        raise
    except LostContact as error:
        raise LostContact(
            f"endpoint {options.name} may still exist and be billed: {error}; run the command again"
        ) from None
    for kind in reversed(kinds):
        print(f"Deleted {kind.noun} {options.name}")
    return COMPLETED


def list_endpoints(options: argparse.Namespace) -> int:
    """List the endpoints that `deploy` created."""
    region = submission.region_of(options)
    with client.one_sentence():
        found = endpoints.newest(sagemaker_of(options), region)
    if options.json:
        print(json.dumps(found, indent=2))
        return COMPLETED
    for each in found:
        print(_line(each))
    if any("cost_per_hour" in each for each in found):
        print("Prices are those of aws/prices.csv; check them for your region")
    if not found:
        print(f"There is no endpoint of `launch.py deploy` in {region}", file=sys.stderr)
    return COMPLETED


def _line(found: dict[str, Any]) -> str:
    if "cost_per_hour" in found:
        cost = f"USD {found['cost_per_hour']:g} per hour"
    else:
        cost = "by the request" if found.get("runs_on", "").startswith("serverless") else "price unknown"
    reason = f"  {found['reason']}" if "reason" in found else ""
    runs_on = found.get("runs_on", "its configuration is gone")
    return f"{found['status']:10}  {found['created']}  {found['endpoint']}  {runs_on}  {cost}{reason}"


COMMANDS = {"deploy": deploy, "undeploy": undeploy, "endpoints": list_endpoints}
