"""Endpoints on SageMaker: create exactly once, wait, list and delete, with their model and configuration.

All three have the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher.aws import client, follow, jobs, scaling
from launcher.aws.jobs import Kind, iso_time
from launcher.errors import JobFailed, Refused
from launcher.plan import endpoint
from launcher.plan.endpoint import Deployment, Source

MODEL = Kind(
    "model",
    "model",
    "ModelName",
    "",
    (
        "PrimaryContainer.Image",
        "PrimaryContainer.ModelDataUrl",
        "PrimaryContainer.Environment",
        "ExecutionRoleArn",
        "VpcConfig",
        "EnableNetworkIsolation",
    ),
    flag="--name",
)
CONFIG = Kind(
    "endpoint configuration",
    "endpoint_config",
    "EndpointConfigName",
    "",
    ("ProductionVariants", "DataCaptureConfig"),
    flag="--name",
)
ENDPOINT = Kind("endpoint", "endpoint", "EndpointName", "EndpointStatus", ("EndpointConfigName",), flag="--name")
_KINDS = (MODEL, CONFIG, ENDPOINT)

IN_SERVICE = "InService"
_CHANGING = {"Creating", "Updating", "SystemUpdating", "RollingBack"}


def source_of(sagemaker: Any, job: str) -> Source:
    """The model of a training job, and how it was trained. Raises Refused for a job without a model."""
    found = jobs.describe(sagemaker, job)
    model = found.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if not model or found["TrainingJobStatus"] not in ("Completed", "Stopped"):
        raise Refused(
            f"job {job} has no model: its status is {found['TrainingJobStatus']}; see `launch.py status {job} --region "
            f"{sagemaker.meta.region_name}`"
        )
    return Source(
        model_data=model,
        image=found["AlgorithmSpecification"]["TrainingImage"],
        role=found["RoleArn"],
        vpc=found.get("VpcConfig"),
        is_network_isolated=found.get("EnableNetworkIsolation", False),
    )


def create(sagemaker: Any, deployment: Deployment) -> bool:
    """Create model, configuration and endpoint. Returns False if the endpoint already exists with the same requests.

    Raises Refused, with nothing left of what this call created, or LostContact.
    """
    made = []
    try:
        for kind, wanted in ((MODEL, deployment.model), (CONFIG, deployment.config), (ENDPOINT, deployment.endpoint)):
            if jobs.start(sagemaker, wanted, kind):
                made.append(kind)
            if kind is not ENDPOINT:
                with client.one_sentence():
                    # AWS recommends to read it before a request refers to it: its reads are eventually consistent.
                    _description(sagemaker, deployment.name, kind)
    except Refused as reason:
        try:
            for kind in reversed(made):
                _delete(sagemaker, deployment.name, kind)
        except Refused as rest:
            raise Refused(f"{reason}; {rest}") from None
        raise
    return ENDPOINT in made


def wait(sagemaker: Any, name: str) -> dict[str, Any]:
    """Print each status of the endpoint until it no longer changes. Returns its description. Raises LostContact."""
    shown = None

    def poll() -> dict[str, Any] | None:
        nonlocal shown
        found = jobs.description(sagemaker, name, ENDPOINT)
        status = found["EndpointStatus"]
        if status != shown:
            print(f"--- {status}", flush=True)
        shown = status
        return None if status in _CHANGING else found

    return follow.until_ended(poll)


def require_in_service(logs: Any, description: Mapping[str, Any], region: str) -> None:
    """Raise JobFailed unless the endpoint is in service, after printing the end of its log."""
    status, name = description["EndpointStatus"], description["EndpointName"]
    if status == IN_SERVICE:
        return
    follow.print_tail(follow.Log(logs, endpoint.VARIANT, f"{follow.ENDPOINTS}/{name}"))
    reason = description.get("FailureReason", "AWS gives no reason.")
    raise JobFailed(
        f"endpoint {name} is {status}. {reason.rstrip('.')}; `launch.py undeploy {name} --region {region}` deletes it"
    )


def delete(sagemaker: Any, autoscaling: Any, name: str) -> list[str]:
    """Delete the endpoint's scaling, the endpoint, its configuration and its model. Returns what existed, in words.

    Raises Refused if there are none, or if one was not created by `deploy`: then nothing is deleted. A scaling that
    cannot be removed does not keep the rest, which costs more; it is raised at the end. Raises LostContact.
    """
    existing, region = _ours(sagemaker, name), sagemaker.meta.region_name
    nouns, refusal = [], None
    try:  # first, so that nothing scales an endpoint that is being deleted
        nouns += ["scaling of endpoint"] if scaling.remove(autoscaling, name) else []
    except Refused as error:
        refusal = error
    if not existing and not nouns and not refusal:
        raise Refused(
            f"there is no endpoint {name} in {region}; `launch.py endpoints --region {region}` shows existing ones, "
            "--region selects another region"
        )
    if ENDPOINT in existing:
        _delete_endpoint(sagemaker, name)
    for kind in (CONFIG, MODEL):  # AWS: not before the endpoint is gone
        if kind in existing:
            _delete(sagemaker, name, kind)
    if refusal:
        raise refusal
    return [*nouns, *(kind.noun for kind in reversed(existing))]


def _ours(sagemaker: Any, name: str) -> list[Kind]:
    """The kinds of what exists with this name. Raises Refused if one was not created by `deploy`."""
    existing = {kind: found for kind in _KINDS if (found := _description(sagemaker, name, kind))}
    for kind, found in existing.items():
        if not _is_ours(sagemaker, _arn(found, kind)):
            raise Refused(
                f"{kind.noun} {name} lacks the tag {endpoint.TAG['Key']} of `launch.py deploy`; "
                "delete it in the console"
            )
    return list(existing)


def _delete_endpoint(sagemaker: Any, name: str) -> None:
    """Delete an endpoint and wait until it is gone. One that is being created cannot be deleted before it is."""
    requested = False

    def poll() -> dict[str, Any] | None:
        nonlocal requested
        found = _description(sagemaker, name, ENDPOINT)
        if found is None:
            return {"EndpointStatus": "Deleted"}
        if not requested and found["EndpointStatus"] not in {*_CHANGING, "Deleting"}:
            _delete(sagemaker, name, ENDPOINT)
            requested = True
        return None

    follow.until_ended(poll)


def delete_model(sagemaker: Any, name: str) -> None:
    """Delete a model; one that is already gone is not an error. Raises Refused."""
    _delete(sagemaker, name, MODEL)


def delete_own_model(sagemaker: Any, name: str) -> None:
    """Delete a model if launch.py created it and no endpoint of its name needs it. Raises Refused."""
    with client.one_sentence():
        found = _description(sagemaker, name, MODEL)
        is_own = found is not None and _is_ours(sagemaker, _arn(found, MODEL))
        is_own = is_own and _description(sagemaker, name, CONFIG) is None
    if is_own:
        delete_model(sagemaker, name)


def _delete(sagemaker: Any, name: str, kind: Kind) -> None:
    """Delete a resource; one that is already gone is not an error. Raises Refused."""
    try:
        getattr(sagemaker, f"delete_{kind.operation}")(**{kind.name: name})
    except (BotoCoreError, ClientError) as error:
        if not jobs.is_missing(error):
            raise Refused(f"{kind.noun} {name} is not deleted: {client.explain(error)}") from None


def _description(sagemaker: Any, name: str, kind: Kind) -> dict[str, Any] | None:
    """The description of a resource; None if there is none. Raises boto3's exceptions."""
    try:
        return jobs.description(sagemaker, name, kind)
    except ClientError as error:
        if not jobs.is_missing(error):
            raise
        return None


def _arn(description: Mapping[str, Any], kind: Kind) -> str:
    return description[kind.name.removesuffix("Name") + "Arn"]


def _is_ours(sagemaker: Any, arn: str) -> bool:
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return any(tag["Key"] == endpoint.TAG["Key"] for page in pages for tag in page["Tags"])


def newest(sagemaker: Any, region: str) -> list[dict[str, Any]]:
    """All endpoints that `deploy` created, newest first, with their cost per hour where it is known."""
    pages = sagemaker.get_paginator("list_endpoints").paginate(SortBy="CreationTime", SortOrder="Descending")
    return [
        summary(sagemaker, found, region, None)
        for page in pages
        for entry in page["Endpoints"]
        if _is_ours(sagemaker, entry["EndpointArn"])
        and (found := _description(sagemaker, entry["EndpointName"], ENDPOINT))
    ]


def summary(sagemaker: Any, description: Mapping[str, Any], region: str, given: float | None) -> dict[str, Any]:
    """The state of an endpoint as data, without empty values; with its cost per hour of all instances."""
    config = _description(sagemaker, description["EndpointConfigName"], CONFIG)
    running = {each["VariantName"]: each for each in description.get("ProductionVariants", ())}
    variants = [_with_count(each, running) for each in (config or {}).get("ProductionVariants", ())]
    prices = [endpoint.price_of(each, region, given) for each in variants]
    hourly = [
        price.per_hour * each["InitialInstanceCount"] for price, each in zip(prices, variants, strict=True) if price
    ]
    values = {
        "endpoint": description["EndpointName"],
        "status": description["EndpointStatus"],
        "reason": description.get("FailureReason"),
        "created": iso_time(description.get("CreationTime")),
        "runs_on": ", ".join(map(endpoint.capacity, variants)),
        "cost_per_hour": round(sum(hourly), 4) if hourly and len(hourly) == len(variants) else None,
        "price": prices[0].source if hourly and prices[0] else None,
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


def _with_count(variant: Mapping[str, Any], running: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A variant of a configuration with the number of instances that the endpoint has now."""
    desired = running.get(variant["VariantName"], {}).get("DesiredInstanceCount")
    return {**variant, "InitialInstanceCount": desired} if desired else dict(variant)
