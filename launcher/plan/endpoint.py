"""An endpoint to create: three requests as plain data, and what it costs. No SDK, no network, no credentials."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.plan import checks, prices
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
    """The requests that create a model, an endpoint configuration and an endpoint, all with the same name."""

    name: str
    region: str
    model: dict[str, Any]
    config: dict[str, Any]
    endpoint: dict[str, Any]

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """The requests by operation, in order."""
        return {"CreateModel": self.model, "CreateEndpointConfig": self.config, "CreateEndpoint": self.endpoint}

    def summary(self, price: float | None) -> str:
        """Lines with what is served, as whom, and what it costs."""
        [variant] = self.config["ProductionVariants"]
        return "\n".join(
            [
                f"endpoint  {self.name} in {self.region}, as {self.model['ExecutionRoleArn']}",
                f"model     {self.model['PrimaryContainer']['ModelDataUrl']}",
                f"image     {self.model['PrimaryContainer']['Image']}",
                f"runs on   {capacity(variant)}",
                f"bill      {bill(variant, self.region, price)}",
            ]
        )


def create(options: argparse.Namespace, source: Source, name: str) -> Deployment:
    """Check the options and create the requests. Raises UserError.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html
    """
    checks.job_name(name)
    checks.pinned_image(source.image)
    checks.role(source.role)
    checks.environment(key for key, _ in options.environment or ())
    checks.no_duplicates("--environment", options.environment or ())
    checks.no_duplicates("--tag", options.tag or ())
    tags = [{"Key": key, "Value": value} for key, value in options.tag or () if key != TAG["Key"]]
    tags.append(TAG)
    container: dict[str, Any] = {"Image": source.image, "ModelDataUrl": source.model_data}
    if options.environment:
        container["Environment"] = dict(options.environment)
    model: dict[str, Any] = {
        "ModelName": name,
        "ExecutionRoleArn": source.role,
        "PrimaryContainer": container,
        "Tags": tags,
    }
    if source.vpc:
        model["VpcConfig"] = source.vpc
    if source.is_network_isolated:
        model["EnableNetworkIsolation"] = True
    variant = {"VariantName": VARIANT, "ModelName": name, **_hosting(options, source)}
    return Deployment(
        name=name,
        region=region_of(options),
        model=model,
        config={"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": tags},
        endpoint={"EndpointName": name, "EndpointConfigName": name, "Tags": tags},
    )


def _hosting(options: argparse.Namespace, source: Source) -> dict[str, Any]:
    """The part of a production variant that says where it runs. Raises UserError."""
    if not options.serverless:
        if options.memory or options.concurrency:
            flag = "--memory" if options.memory else "--concurrency"
            raise UserError(f"{flag} applies to serverless endpoints only; add --serverless, or remove it")
        instance_type = options.instance_type or DEFAULT_INSTANCE_TYPE
        checks.instance_type(instance_type)
        return {
            "InstanceType": instance_type,
            "InitialInstanceCount": options.count or 1,
            "InitialVariantWeight": 1.0,
            "ContainerStartupHealthCheckTimeoutInSeconds": _STARTUP_SECONDS,
        }
    if options.instance_type or options.count:
        flag = "--instance-type" if options.instance_type else "--count"
        raise UserError(f"{flag} cannot be combined with --serverless; remove one of the two")
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


def name_for(uri: S3Uri) -> str | None:
    """The name of the job that wrote this model.tar.gz, by the path that SageMaker gives it; None for other paths."""
    found = _ARTIFACT.fullmatch(uri.key)
    return found[1] if found else None


def capacity(variant: Mapping[str, Any]) -> str:
    """Where a production variant runs, in words."""
    if serverless := variant.get("ServerlessConfig"):
        return f"serverless, {serverless['MemorySizeInMB']} MB, at most {serverless['MaxConcurrency']} at a time"
    return f"{variant['InitialInstanceCount']} x {variant['InstanceType']}"


def price_of(variant: Mapping[str, Any], region: str, given: float | None) -> Price | None:
    """The price of one instance per hour; None without instances, or if it is unknown."""
    return None if "ServerlessConfig" in variant else prices.find(variant["InstanceType"], region, given)


def bill(variant: Mapping[str, Any], region: str, given: float | None) -> str:
    """The cost of a production variant, in words."""
    if "ServerlessConfig" in variant:
        return "by the request (memory x time); nothing while there are no requests"
    price = price_of(variant, region, given)
    if price is None:
        return f"price unknown ({capacity(variant)}, around the clock); give that of one instance per hour with --price"
    per_hour = price.per_hour * variant["InitialInstanceCount"]
    amount = f"{price.currency or ''} {per_hour:g} per hour, {per_hour * HOURS_PER_MONTH:.0f} per month".strip()
    return f"{amount}, with or without requests; price from {price.source}"
