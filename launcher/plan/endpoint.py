"""An endpoint to create: its requests as plain data, and what it costs. No SDK, no network, no credentials."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.plan import checks, limits, prices, scaling
from launcher.plan.prices import Price
from launcher.plan.s3 import S3Uri
from launcher.plan.submission import region_of
from text_classifier.contract.errors import UserError

DEFAULT_INSTANCE_TYPE = "ml.c5.xlarge"
DEFAULT_MEMORY_MB = 3072
DEFAULT_CONCURRENCY = 5

#: Tag of all that `deploy` creates, so that `undeploy` deletes nothing else.
TAG = {"Key": "sagemaker-text-classification", "Value": "deployed"}
#: The name of the one production variant, with which the names of its log streams begin.
VARIANT = "all"

HOURS_PER_MONTH = 730
#: The bill of a serverless endpoint, in words.
PER_REQUEST = "per request (memory x duration); nothing while idle"
_MEMORY_MB = range(1024, 6144 + 1, 1024)
_MAX_CONCURRENCY = 200
#: Time to download and unpack the model and to load it, before SageMaker gives up.
_STARTUP_SECONDS = 300
_ARTIFACT = re.compile(r"(?:.*/)?([^/]+)/output/model\.tar\.gz")


@dataclass(frozen=True)
class Source:
    """A model in S3 and how to run it: the parts of a training job that its endpoint shares."""

    model_data: str
    image: str
    role: str
    vpc: Mapping[str, Any] | None = None
    is_network_isolated: bool = False


@dataclass(frozen=True)
class Deployment:
    """The requests that create a model, an endpoint configuration and an endpoint, all with the same name.

    `scaling` has those that scale the endpoint when it is in service.
    """

    name: str
    region: str
    model: dict[str, Any]
    config: dict[str, Any]
    endpoint: dict[str, Any]
    scaling: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """The requests by operation, in order."""
        create = {"CreateModel": self.model, "CreateEndpointConfig": self.config, "CreateEndpoint": self.endpoint}
        return {**create, **self.scaling}

    @property
    def most_instances(self) -> int | None:
        """The number of instances to which the endpoint may scale; None if it does not."""
        return self.scaling["RegisterScalableTarget"]["MaxCapacity"] if self.scaling else None

    def summary(self, price: float | None) -> str:
        """Lines with what is served, as whom, and what it costs."""
        [variant] = self.config["ProductionVariants"]
        capture = self.config.get("DataCaptureConfig")
        return "\n".join(
            [
                f"endpoint  {self.name} in {self.region}, as {self.model['ExecutionRoleArn']}",
                f"model     {self.model['PrimaryContainer']['ModelDataUrl']}",
                f"image     {self.model['PrimaryContainer']['Image']}",
                f"runs on   {capacity(variant, self.most_instances)}",
                *([f"captures  {_captured(capture)}"] if capture else []),
                f"bill      {self.bill(price)}",
            ]
        )

    def bill(self, price: float | None) -> str:
        """What the endpoint costs, in words."""
        return bill(self.config["ProductionVariants"][0], self.region, price, self.most_instances)


def _captured(capture: Mapping[str, Any]) -> str:
    return f"{capture['InitialSamplingPercentage']} % of requests and responses to {capture['DestinationS3Uri']}"


def create(options: argparse.Namespace, source: Source, name: str) -> Deployment:
    """Check the options and create the requests. Raises UserError.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html
    """
    model = model_request(options, source, name)
    variant = {"VariantName": VARIANT, "ModelName": name, **_hosting(options, source)}
    config = {"EndpointConfigName": name, "ProductionVariants": [variant], **_capture(options), "Tags": model["Tags"]}
    deployment = Deployment(
        name=name,
        region=region_of(options),
        model=model,
        config=config,
        endpoint={"EndpointName": name, "EndpointConfigName": name, "Tags": model["Tags"]},
        scaling=_scaling(options, name),
    )
    limits.check_all(deployment.requests)
    return deployment


def model_request(options: argparse.Namespace, source: Source, name: str) -> dict[str, Any]:
    """The request that creates a model, for an endpoint or a transform job. Raises UserError."""
    checks.job_name(name)
    checks.pinned_image(source.image)
    checks.role(source.role)
    checks.environment(key for key, _ in options.environment or ())
    checks.no_duplicates("--environment", options.environment or ())
    checks.no_duplicates("--tag", options.tag or ())
    tags = [{"Key": key, "Value": value} for key, value in options.tag or () if key != TAG["Key"]]
    container: dict[str, Any] = {"Image": source.image, "ModelDataUrl": source.model_data}
    if options.environment:
        container["Environment"] = dict(options.environment)
    model: dict[str, Any] = {
        "ModelName": name,
        "ExecutionRoleArn": source.role,
        "PrimaryContainer": container,
        "Tags": [*tags, TAG],
    }
    if source.vpc:
        model["VpcConfig"] = source.vpc
    if source.is_network_isolated:
        model["EnableNetworkIsolation"] = True
    return model


def _scaling(options: argparse.Namespace, name: str) -> dict[str, dict[str, Any]]:
    if not options.scale:
        if options.scale_requests:
            raise UserError("--scale-requests needs --scale; give the range of instances, as in --scale 1-4")
        return {}
    per_minute = options.scale_requests or scaling.DEFAULT_REQUESTS_PER_MINUTE
    return scaling.requests(name, VARIANT, options.scale, per_minute)


def _capture(options: argparse.Namespace) -> dict[str, Any]:
    """The part of an endpoint configuration that stores requests and responses in S3. Raises UserError."""
    if not options.capture:
        if options.capture_percent:
            raise UserError("--capture-percent needs --capture; give the folder in S3 that receives the requests")
        return {}
    if not isinstance(options.capture, S3Uri):
        raise UserError(f"--capture {options.capture} is not in S3; write it like s3://bucket/folder/")
    if options.serverless:
        raise UserError(
            "--capture cannot be combined with --serverless, which AWS does not support; remove one of the two"
        )
    return {
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": options.capture_percent or 100,
            "DestinationS3Uri": str(options.capture),
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            # Bodies of other types are stored in base64.
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json", "application/jsonlines"],
            },
        }
    }


def _hosting(options: argparse.Namespace, source: Source) -> dict[str, Any]:
    """The part of a production variant that says where it runs. Raises UserError."""
    if not options.serverless:
        if options.memory or options.concurrency:
            flag = "--memory" if options.memory else "--concurrency"
            raise UserError(f"{flag} applies to serverless endpoints only; add --serverless, or remove it")
        if options.scale and options.count:
            raise UserError(
                "--count cannot be combined with --scale, whose minimum is the count; remove one of the two"
            )
        return {
            "InstanceType": instance_type_of(options),
            "InitialInstanceCount": options.scale[0] if options.scale else options.count or 1,
            "InitialVariantWeight": 1.0,
            "ContainerStartupHealthCheckTimeoutInSeconds": _STARTUP_SECONDS,
        }
    flags = {"--instance-type": options.instance_type, "--count": options.count, "--scale": options.scale}
    if other := next((name for name, value in flags.items() if value), None):
        raise UserError(f"{other} cannot be combined with --serverless; remove one of the two")
    if source.vpc or source.is_network_isolated:
        raise UserError(
            "the job ran in a VPC or without network access, which serverless endpoints do not support; deploy to "
            "instances (without --serverless)"
        )
    memory, concurrency = options.memory or DEFAULT_MEMORY_MB, options.concurrency or DEFAULT_CONCURRENCY
    if memory not in _MEMORY_MB:
        raise UserError(f"--memory {memory} is not possible; give {', '.join(map(str, _MEMORY_MB))} (MB)")
    if concurrency > _MAX_CONCURRENCY:
        raise UserError(f"--concurrency {concurrency} is too high; the maximum is {_MAX_CONCURRENCY}")
    return {"ServerlessConfig": {"MemorySizeInMB": memory, "MaxConcurrency": concurrency}}


def instance_type_of(options: argparse.Namespace) -> str:
    """The instance type to serve on. Raises UserError."""
    instance_type: str = options.instance_type or DEFAULT_INSTANCE_TYPE
    checks.instance_type(instance_type)
    return instance_type


def name_for(uri: S3Uri) -> str | None:
    """The name of the job that wrote this model.tar.gz, by the path that SageMaker gives it; None for other paths."""
    found = _ARTIFACT.fullmatch(uri.key)
    return found[1] if found else None


def capacity(variant: Mapping[str, Any], most: int | None = None) -> str:
    """Where a production variant runs, in words."""
    if serverless := variant.get("ServerlessConfig"):
        return f"serverless, {serverless['MemorySizeInMB']} MB, at most {serverless['MaxConcurrency']} at a time"
    count = variant["InitialInstanceCount"]
    return f"{f'{count} to {most}' if most else count} x {variant['InstanceType']}"


def price_of(variant: Mapping[str, Any], region: str, given: float | None) -> Price | None:
    """The price of one instance per hour; None without instances, or if it is unknown."""
    return None if "ServerlessConfig" in variant else prices.find(variant["InstanceType"], region, given)


def bill(variant: Mapping[str, Any], region: str, given: float | None, most: int | None = None) -> str:
    """The cost of a production variant, which may scale to `most` instances, in words."""
    if "ServerlessConfig" in variant:
        return PER_REQUEST
    price = price_of(variant, region, given)
    if price is None:
        return (
            f"price unknown ({capacity(variant, most)}, around the clock); give that of one instance per hour with "
            "--price"
        )
    counts = [count for count in (variant["InitialInstanceCount"], most) if count]
    hourly = [price.per_hour * count for count in counts]
    per_hour = " to ".join(f"{each:g}" for each in hourly)
    per_month = " to ".join(f"{each * HOURS_PER_MONTH:.0f}" for each in hourly)
    amount = f"{price.currency or ''} {per_hour} per hour, {per_month} per month".strip()
    return f"{amount}, with or without requests; price from {price.source}"
