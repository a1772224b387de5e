#!/usr/bin/env python3
"""Fine-tune the text classifier: on this machine (local), on Amazon SageMaker (train), or on paper (plan)."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher import arguments, checks, local, request
from launcher.arguments import WRONG_USE
from launcher.signals import Interrupted, StopSignals

# isort: split
# Importing launcher has made the training code's own modules importable.
import hyperparameters
from failures import UserError

FAILED = 1


def main(words: Sequence[str]) -> int:
    """Run a command. Exit codes: 0 done, 1 the job failed, 2 wrong use, 128 + n ended by signal n."""
    parser = arguments.parser({"local": run_locally, "plan": plan, "train": train})
    options, rest = parser.parse_known_args(words)
    try:
        return options.command(options, _hyperparameters(rest))
    except UserError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return WRONG_USE
    except local.TrainingFailed as error:
        print(f"launch.py: the job failed. {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"launch.py: {error}; make room there, or change the permissions", file=sys.stderr)
        return FAILED
    except Interrupted as interrupt:
        print("launch.py: interrupted; nothing is left of this run", file=sys.stderr)
        return interrupt.exit_code
    except KeyboardInterrupt:
        print("launch.py: interrupted before anything was started", file=sys.stderr)
        return 128 + signal.SIGINT


def run_locally(options: argparse.Namespace, values: dict[str, str]) -> int:
    """`launch.py local`: train in containers of this machine, then use the artifact inside the same image."""
    channels = _channels(options)
    if not options.data:
        channels = local.demo_channels() | channels
        values = local.DEMO_HYPERPARAMETERS | values
    if "model" not in channels and "model_name" not in values and (local.DEMO / "model").is_dir():
        channels["model"] = local.DEMO / "model"
        print(f"Starting from the demo's model ({local.shown(channels['model'])}), as no other is named")
    job = local.LocalJob(_job_name(options), options.image, channels, values, options.instance_count)
    result = local.run(job)
    _print_result(job, result)
    return 0


def plan(options: argparse.Namespace, values: dict[str, str]) -> int:
    """`launch.py plan`: print the CreateTrainingJob request, and call nothing."""
    print(json.dumps(_aws_request(options, values, _channels(options)), indent=2))
    return 0


def train(options: argparse.Namespace, values: dict[str, str]) -> int:
    """`launch.py train`: upload the data, run the job on SageMaker, and follow its log."""
    channels = _channels(options)
    job = _aws_request(options, values, channels)
    name, region = job["TrainingJobName"], _region(options)
    from launcher import sdk

    owner = None if options.bucket else request.account_of_role(options.role)
    try:
        with StopSignals():
            outcome = sdk.train(job, region, channels, owner)
    except Interrupted as interrupt:
        print(
            f"launch.py: no longer following {name}; if it was started it goes on, and ends with "
            f"`aws sagemaker stop-training-job --region {region} --training-job-name {name}`",
            file=sys.stderr,
        )
        return interrupt.exit_code
    if outcome.status != "Completed":
        print(f"launch.py: job {name} ended as {outcome.status}. {outcome.reason}", file=sys.stderr)
        return FAILED
    print(f"Job {name} is completed: {outcome.model}")
    return 0


def _aws_request(
    options: argparse.Namespace, values: Mapping[str, str], channels: Mapping[str, Path]
) -> dict[str, Any]:
    checks.pinned_image(options.image)
    checks.role(options.role)
    region = _region(options)
    checks.instance_type(options.instance_type)
    bucket = options.bucket or request.default_bucket(region, options.role)
    checks.bucket(bucket)
    base, name = options.base_job_name, _job_name(options)
    return request.create_training_job(
        name=name,
        image=options.image,
        role=options.role,
        inputs=request.input_uris(bucket, base, name, channels),
        output=request.output_uri(bucket, base),
        hyperparameters=values,
        instance_type=options.instance_type,
        instance_count=options.instance_count,
        volume_gb=options.volume_size,
        max_run_seconds=options.max_run,
        spot=_spot(options, request.checkpoints_uri(bucket, base, name)),
    )


def _spot(options: argparse.Namespace, checkpoints: str) -> request.Spot | None:
    if not options.spot:
        if options.max_wait:
            raise UserError("--max-wait is for spot instances; give --spot too, or leave it out")
        return None
    max_wait = options.max_wait or 2 * options.max_run
    checks.spot_wait(max_wait, options.max_run)
    return request.Spot(max_wait, checkpoints)


def _region(options: argparse.Namespace) -> str:
    candidates = (options.region, os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"))
    region = next(filter(None, candidates), None) or request.region_of_image(options.image)
    if not region:
        raise UserError("no region is known; give --region, or set AWS_REGION")
    checks.region(region)
    return region


def _job_name(options: argparse.Namespace) -> str:
    name = options.job_name or request.job_name(options.base_job_name, datetime.now(UTC))
    checks.job_name(name)
    return name


def _channels(options: argparse.Namespace) -> dict[str, Path]:
    given = {
        "train": options.data,
        "validation": options.validation,
        "test": options.test,
        "model": options.model,
    }
    channels = {name: path for name, path in given.items() if path}
    for name, path in channels.items():
        if name == "model":
            checks.model_directory(path)
        else:
            checks.channel("--data" if name == "train" else f"--{name}", path)
    return channels


def _hyperparameters(words: Sequence[str]) -> dict[str, str]:
    values = checks.pairs(words)
    hyperparameters.parse(values)
    return values


def _print_result(job: local.LocalJob, result: local.Result) -> None:
    width = max(len(prediction["text"]) for prediction in result.predictions)
    print()
    for prediction in result.predictions:
        print(f"{prediction['text']:{width}}  {prediction['label']} {prediction['score']:.3f}")
    metrics = result.metrics
    print()
    print(
        f"accuracy      {metrics['accuracy']:.3f} (the most frequent class alone would give "
        f"{metrics['majority_accuracy']:.3f})"
    )
    print(f"model.tar.gz  {local.shown(job.directory / 'model.tar.gz')}")
    print(f"report        {local.shown(job.directory / 'output' / 'data' / 'report.html')}")
    seconds = ", ".join(f"{stage} {duration:.1f} s" for stage, duration in result.seconds.items())
    print(f"wall time     {sum(result.seconds.values()):.1f} s: {seconds}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
