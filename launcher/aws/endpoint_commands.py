"""The commands of launch.py for endpoints: deploy, invoke, endpoints, undeploy."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

from launcher.aws import client, endpoints, jobs, scaling
from launcher.aws import invoke as requests
from launcher.aws.console import confirm, messages_to_stderr, print_result
from launcher.errors import COMPLETED, JobFailed, LostContact
from launcher.plan import endpoint, submission
from launcher.plan.endpoint import Deployment, Source
from launcher.plan.s3 import S3Uri, location
from launcher.signals import Aborted, StopSignals
from text_classifier.contract.errors import UserError, printable


def deploy(options: argparse.Namespace) -> int:
    """Create the endpoint exactly once, and wait until it is in service."""
    with messages_to_stderr(options):
        deployment = _deployment(options)
        if options.plan:
            return _print_plan(deployment, options)
        confirm(deployment.summary(options.price), options)
        sagemaker, name, region = jobs.sagemaker_of(options), deployment.name, deployment.region
        with StopSignals(Aborted), _report_detaching(name, region):
            is_new = endpoints.create(sagemaker, deployment)
            print(f"Endpoint {name} {'is being created' if is_new else 'already exists'}", flush=True)
            found = endpoints.wait(sagemaker, name)
            endpoints.require_in_service(client.create("logs", region), found, region)
            if deployment.scaling:
                scaling.apply(client.create("application-autoscaling", region), name, deployment.scaling)
                print(f"Endpoint {name} scales to at most {deployment.most_instances} instances")
            try:
                summary = endpoints.summary(sagemaker, found, region, options.price)
            except client.FAILURES as error:
                raise JobFailed(
                    f"endpoint {name} is in service, but cannot be described: {client.explain(error)}; `launch.py "
                    f"undeploy {name} --region {region}` deletes it"
                ) from None
        print_result(summary, options)
        print(f"Endpoint {name} is in service; `launch.py undeploy {name} --region {region}` deletes it")
    return COMPLETED


def _deployment(options: argparse.Namespace) -> Deployment:
    """The requests for a job's model, or for a model.tar.gz in S3. Raises UserError or Refused."""
    source, job = source_of(options)
    name = options.name or job
    if not name:
        raise UserError("the endpoint needs a name; give --name")
    return endpoint.create(options, source, name)


def source_of(options: argparse.Namespace) -> tuple[Source, str | None]:
    """The model of a job, or a model.tar.gz in S3, and the name of its job. Raises UserError or Refused."""
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
        return Source(str(place), options.image, options.role), endpoint.name_for(place)
    found = endpoints.source_of(jobs.sagemaker_of(options), options.model)
    given = {key: value for key in ("image", "role") if (value := getattr(options, key))}
    return dataclasses.replace(found, **given), options.model


def _print_plan(deployment: Deployment, options: argparse.Namespace) -> int:
    if options.json:
        plan = {"requests": deployment.requests, "bill": deployment.bill(options.price)}
        print(json.dumps(plan, indent=2), file=options.result)
    else:
        print(f"{deployment.summary(options.price)}\n\n{json.dumps(deployment.requests, indent=2)}")
    return COMPLETED


@contextlib.contextmanager
def _report_detaching(name: str, region: str) -> Iterator[None]:
    """Tell the user what happens to the endpoint when this command ends before it is in service."""
    remove = f"`launch.py undeploy {name} --region {region}` deletes it"
    try:
        with client.losing_contact():
            yield
    except LostContact as error:
        raise LostContact(
            f"lost contact with endpoint {name}, which is billed if it was created: {error}; the same command resumes, "
            f"{remove}"
        ) from None
    except Aborted:
        print(
            f"launch.py: endpoint {name} is created and billed if it was started; the same command resumes, {remove}",
            file=sys.stderr,
        )
        raise


def invoke(options: argparse.Namespace) -> int:
    """Print the label and score of each text."""
    texts = _texts(options)
    parameters = {"top_k": options.top_k} if options.top_k else {}
    if options.calibrated:
        parameters["calibrated"] = True
    runtime = client.create("sagemaker-runtime", submission.region_of(options), read_timeout=90)
    answered = requests.classify(runtime, options.name, texts, parameters)
    if options.json:
        print(json.dumps([{"text": text, "scores": scores} for text, scores in answered], indent=2))
        return COMPLETED
    for text, scores in answered:
        best = ", ".join(f"{printable(each['label'])} {each['score']:.3f}" for each in scores)
        print(f"{best}  {printable(text)}", flush=True)
    return COMPLETED


def _texts(options: argparse.Namespace) -> list[str]:
    """The texts of the command line; else the lines of --data, or of stdin. Raises UserError."""
    if options.text and options.data:
        raise UserError("give texts or --data, not both")
    if options.text:
        return options.text
    if not options.data and sys.stdin.isatty():
        raise UserError("invoke needs texts; give them as arguments, in a file with --data, or on standard input")
    name = options.data or "standard input"
    try:
        content = (options.data.read_bytes() if options.data else sys.stdin.buffer.read()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 (byte {error.start}); convert it") from None
    except OSError as error:
        raise UserError(
            f"--data {name} cannot be read ({error.strerror}); give a file with one text per line"
        ) from None
    lines = [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []
    if not lines:
        raise UserError(f"{name} is empty; give one text per line")
    return lines


def undeploy(options: argparse.Namespace) -> int:
    """Delete an endpoint with its configuration and model."""
    sagemaker, region = jobs.sagemaker_of(options), submission.region_of(options)
    print(f"Deleting endpoint {options.name} in {region}", flush=True)
    try:
        with StopSignals(Aborted):
            nouns = endpoints.delete(sagemaker, client.create("application-autoscaling", region), options.name)
    except Aborted:
        again = f"`launch.py undeploy {options.name} --region {region}`"
        print(f"launch.py: interrupted; {again} deletes the rest", file=sys.stderr)
        raise
    except LostContact as error:
        raise LostContact(
            f"endpoint {options.name} may still exist and be billed: {error}; run the command again"
        ) from None
    for noun in nouns:
        print(f"Deleted {noun} {options.name}")
    return COMPLETED


def list_endpoints(options: argparse.Namespace) -> int:
    """List the endpoints that `deploy` created."""
    region = submission.region_of(options)
    found = endpoints.newest(jobs.sagemaker_of(options), region)
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
        is_serverless = found.get("runs_on", "").startswith("serverless")
        cost = endpoint.PER_REQUEST if is_serverless else "price unknown"
    reason = f"  {found['reason']}" if "reason" in found else ""
    runs_on = found.get("runs_on", "its configuration is gone")
    return f"{found['status']:10}  {found['created']}  {found['endpoint']}  {runs_on}  {cost}{reason}"


COMMANDS = {"deploy": deploy, "invoke": invoke, "undeploy": undeploy, "endpoints": list_endpoints}
