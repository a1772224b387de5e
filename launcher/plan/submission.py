"""A job to submit, created from the options of a command: the request, its files and its maximum cost."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from launcher.plan import bill, checks, inputs, limits, prices, request, search
from launcher.plan.channels import Channel, needed_files
from launcher.plan.prices import Price
from launcher.plan.s3 import Listing
from launcher.plan.search import Search
from text_classifier.contract import sagemaker
from text_classifier.contract.errors import UserError


@dataclass(frozen=True)
class Submission:
    """The request, its region and bucket, and the local files of its channels.

    With a `search` the request is that of a tuning job, and `job` is the request of each trial.
    """

    job: dict[str, Any]
    region: str
    bucket: str
    #: The account that must own the default bucket, which is created if missing; None for a bucket of the user.
    bucket_owner: str | None
    channels: Mapping[str, Channel]
    #: The channels that are in S3 already, with what lies there; None where nobody has looked.
    in_place: Mapping[str, Listing | None]
    #: Why the data is streamed; None if it is not, or the user says so.
    streaming: str | None
    kms_key: str | None
    search: Search | None = None

    @property
    def name(self) -> str:
        return self.job["TrainingJobName"]

    @property
    def request(self) -> dict[str, Any]:
        """The CreateTrainingJob request, or the CreateHyperParameterTuningJob request."""
        return search.create_tuning_job(self.job, self.search) if self.search else self.job

    @property
    def trials(self) -> int:
        """Number of training jobs in all."""
        return self.search.max_jobs if self.search else 1

    @property
    def parallel_jobs(self) -> int:
        """Number of training jobs that run at the same time."""
        return self.search.max_parallel_jobs if self.search else 1

    def price(self, given: float | None) -> Price | None:
        """The price of one instance per hour."""
        return prices.find(self.job["ResourceConfig"]["InstanceType"], self.region, given)

    def uri(self, channel: str) -> str:
        """The S3 URI of a channel."""
        uris = {
            entry["ChannelName"]: entry["DataSource"]["S3DataSource"]["S3Uri"] for entry in self.job["InputDataConfig"]
        }
        return uris[channel]

    def summary(self, price: float | None) -> str:
        """Lines with everything that is read, written and paid for."""
        lines = [f"job     {self.name} in {self.region}, as {self.job['RoleArn']}"]
        if self.search:
            lines.append(
                f"trials  {self.search.max_jobs}, {self.search.max_parallel_jobs} at a time ({self.search.strategy}): "
                f"{', '.join(self.search.names)} for the best {self.search.objective}"
            )
        for name, channel in self.channels.items():
            lines.append(f"reads   {self.uri(name)}: {name}, {len(channel.files)} file(s), {channel.size:,} bytes")
        jobs = f"{self.name}-*" if self.search else self.name
        for name, listing in self.in_place.items():
            found = f"{listing}, " if listing else ""
            lines.append(f"reads   {self.uri(name)}: {name}, {found}in place")
        if self.streaming:
            lines.append(f"streams {self.streaming}")
        lines.append(f"writes  {self.job['OutputDataConfig']['S3OutputPath']}/{jobs}/output/")
        if "CheckpointConfig" in self.job:
            lines.append(f"writes  {self.job['CheckpointConfig']['S3Uri']}")
        money, *more = bill.lines(self.job, self.price(price), self.trials)
        return "\n".join([*lines, f"bill    {money}", *(f"        {line}" for line in more)])


def create(options: argparse.Namespace, searched: Search | None = None) -> Submission:
    """Check the options and create the request; with a search, the request of a tuning job. Raises UserError."""
    paths = inputs.local_paths(options)
    check(options)
    region, bucket = region_of(options), bucket_of(options)
    channels = {
        key: Channel.from_path(path) if key == "model" else Channel.from_files(needed_files(path))
        for key, path in paths.items()
    }
    name = tuning_job_name(options) if searched else job_name(options)
    uris = {
        key: request.input_uri(bucket, options.base_job_name, channel.content_hash) for key, channel in channels.items()
    }
    in_place = inputs.s3_sources(options)
    uris |= {key: str(uri if options.listings.get(key) else uri.guess) for key, uri in in_place.items()}
    submission = Submission(
        job=request_of(options, name, {key: uris[key] for key in inputs.OPTION_OF_CHANNEL if key in uris}),
        region=region,
        bucket=bucket,
        bucket_owner=None if options.bucket else request.account_of_role(options.role),
        channels=channels,
        in_place={key: inputs.listing(options, key) for key in in_place},
        streaming=inputs.reason_to_stream(options),
        kms_key=options.kms_key,
        search=searched,
    )
    limits.check(submission.request)
    return submission


def bucket_of(options: argparse.Namespace) -> str:
    """The bucket for data and results: --bucket, or SageMaker's default one. Raises UserError."""
    bucket = options.bucket or request.default_bucket(region_of(options), options.role)
    checks.bucket(bucket)
    return bucket


def request_of(options: argparse.Namespace, name: str, uris: Mapping[str, str]) -> dict[str, Any]:
    """The CreateTrainingJob request of checked options for these URIs by channel."""
    bucket, base = bucket_of(options), options.base_job_name
    spot = request.Spot(max_wait(options), request.checkpoints_uri(bucket, base, name)) if options.spot else None
    return request.create_training_job(
        name=name,
        image=options.image,
        role=options.role,
        inputs=uris,
        output=request.output_uri(bucket, base),
        hyperparameters=options.hyperparameters,
        input_mode=options.input_mode or ("FastFile" if inputs.reason_to_stream(options) else "File"),
        distribution=options.distribution,
        instance_type=options.instance_type,
        instance_count=options.instance_count,
        volume_gb=options.volume_size,
        keep_alive_seconds=options.keep_alive,
        max_run_seconds=options.max_run,
        spot=spot,
        security=request.Security(
            subnets=options.subnet or (),
            security_groups=options.security_group or (),
            is_network_isolated=options.network_isolation,
            encrypts_inter_container_traffic=options.encrypt_inter_container_traffic,
            kms_key=options.kms_key,
            volume_kms_key=options.volume_kms_key,
        ),
        tags=dict(options.tag or ()),
        environment=_job_environment(options) | dict(options.environment or ()),
    )


def _job_environment(options: argparse.Namespace) -> dict[str, str]:
    """Environment variables with facts that the job cannot find out by itself."""
    digest = options.image.partition("@")[2]
    return {sagemaker.MAX_RUN_SECONDS: str(options.max_run)} | ({sagemaker.IMAGE_DIGEST: digest} if digest else {})


def check(options: argparse.Namespace) -> None:
    """Reject settings that cannot work, alone or in combination."""
    checks.pinned_image(options.image)
    checks.role(options.role)
    checks.instance_type(options.instance_type)
    check_settings(options)
    region = region_of(options)
    checks.image_region(options.image, region)
    checks.role_partition(options.role, region)


def check_settings(options: argparse.Namespace) -> None:
    """Reject settings that cannot be combined."""
    if options.spot:
        checks.spot_wait(max_wait(options), options.max_run)
    elif options.max_wait:
        raise UserError("--max-wait applies to spot instances only; add --spot, or remove it")
    if options.keep_alive:
        checks.keep_alive(options.keep_alive, options.spot)
    if options.input_mode:
        checks.input_mode(options.input_mode)
    checks.distribution(options.distribution)
    checks.network(options.subnet, options.security_group, options.network_isolation, bool(options.model))
    checks.volume_key(options.volume_kms_key, options.instance_type)
    checks.environment(name for name, _ in options.environment or ())
    checks.no_duplicates("--environment", options.environment or ())
    checks.no_duplicates("--tag", options.tag or ())


def max_wait(options: argparse.Namespace) -> int:
    """Seconds of waiting plus running on spot instances; by default twice --max-run, where AWS allows that."""
    longest: int = options.max_wait or max(options.max_run, min(2 * options.max_run, limits.MAX_RUN_SECONDS))
    return longest


def region_of(options: argparse.Namespace) -> str:
    """The region from --region, the environment, the image URI, or the profile. Raises UserError."""
    candidates = (options.region, os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"))
    region = next(filter(None, candidates), None) or request.region_of_image(getattr(options, "image", None) or "")
    region = region or region_of_profile()
    if not region:
        raise UserError(
            "the AWS region is unknown; give --region, set AWS_REGION, or set the region of the profile (aws configure)"
        )
    checks.region(region)
    return region


def region_of_profile() -> str | None:
    """The region of AWS_PROFILE, or of the default profile, in ~/.aws/config. Raises UserError without that profile."""
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError, ProfileNotFound
    except ImportError:
        return None
    try:
        region: str | None = botocore.session.get_session().get_config_variable("region")
    except ProfileNotFound as error:
        raise UserError(f"{error}; set AWS_PROFILE to a profile in ~/.aws/config") from None
    except BotoCoreError as error:
        raise UserError(f"{error}; correct that file") from None
    return region


def job_name(options: argparse.Namespace) -> str:
    """The name of the job; retries of the submission keep it. Raises UserError."""
    if not options.job_name:
        checks.base_job_name(options.base_job_name)
    name = options.job_name or request.job_name(options.base_job_name, datetime.now(UTC))
    checks.job_name(name)
    return name


def tuning_job_name(options: argparse.Namespace) -> str:
    """The name of the tuning job; retries of the submission keep it. Raises UserError."""
    if not options.job_name:
        checks.base_job_name(options.base_job_name)
    name = options.job_name or request.tuning_job_name(options.base_job_name, datetime.now(UTC))
    checks.tuning_job_name(name)
    return name
