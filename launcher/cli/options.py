"""Every option of launch.py, declared once: as a flag, as a key of train.yaml, with its type and its default."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from launcher.plan import request
from launcher.plan.checks import pair


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def price(text: str) -> float:
    """Read an amount of money that is more than 0."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) == 0:
        raise ValueError(f"{text!r} is not a price; write it as 1.41")
    return float(text)


def truth(text: str) -> bool:
    """Read true or false."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


@dataclass(frozen=True)
class Option:
    """`name` is the key of train.yaml; the flag is the same with hyphens.

    `kind` reads one value and raises ValueError. An option with `items` may be given several times, and is a list in
    train.yaml, or a mapping where its items are NAME=VALUE.
    """

    name: str
    help: str
    kind: Callable[[str], Any] = str
    metavar: str | None = None
    default: Any = None
    items: bool = False
    in_file: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return self.kind is truth


_OPTIONS = (
    Option("data", "file or folder of rows to train on", Path, "PATH"),
    Option("validation", "rows to choose the best epoch by", Path, "PATH"),
    Option("test", "rows to measure the result on", Path, "PATH"),
    Option("model", "model to start from, as save_pretrained wrote it", Path, "FOLDER"),
    Option("instance_count", "hosts", positive, "N", 1),
    Option("job_name", "exact name (default: base job name and time)", metavar="NAME"),
    Option(
        "base_job_name",
        "beginning of the job's name, and its folder in the bucket",
        metavar="NAME",
        default=request.DEFAULT_BASE_JOB_NAME,
    ),
    Option("image", "image in ECR, with its digest or tag", metavar="URI"),
    Option("role", "execution role of the job", metavar="ARN"),
    Option("bucket", "(default: sagemaker-REGION-ACCOUNT, as the SDK has it)", metavar="NAME"),
    Option("region", "(default: AWS_REGION, AWS_DEFAULT_REGION, the image's region)", metavar="NAME"),
    Option("instance_type", "machine to train on", metavar="TYPE", default=request.DEFAULT_INSTANCE_TYPE),
    Option("volume_size", "disk of each host", positive, "GB", request.DEFAULT_VOLUME_GB),
    Option("max_run", "the job is stopped after so long", positive, "SECONDS", request.DEFAULT_MAX_RUN_SECONDS),
    Option("spot", "on spot instances; a job that is reclaimed goes on from its checkpoint", truth, default=False),
    Option(
        "max_wait",
        "with --spot: waiting for instances and running, together (default: twice --max-run)",
        positive,
        "SECONDS",
    ),
    Option(
        "keep_alive", "keep the instances so long for a next job (warm pool); they are paid for", positive, "SECONDS"
    ),
    Option("input_mode", "File (copied before training) or FastFile (streamed)", metavar="MODE", default="File"),
    Option("subnet", "subnet of your VPC to run in; with --security-group", metavar="ID", items=True),
    Option("security_group", "security group of the job's network interfaces", metavar="ID", items=True),
    Option("network_isolation", "no network for the containers; needs --model", truth, default=False),
    Option("encrypt_inter_container_traffic", "encrypt what hosts send each other", truth, default=False),
    Option("kms_key", "KMS key of the uploaded data and the result", metavar="KEY"),
    Option("volume_kms_key", "KMS key of the hosts' disks", metavar="KEY"),
    Option("tag", "tag of the job, for the bill", pair, "NAME=VALUE", items=True),
    Option("environment", "environment variable of the containers", pair, "NAME=VALUE", items=True),
    Option("price", "price of one instance for one hour (default: that of aws/prices.csv)", price, "AMOUNT"),
    Option(
        "objective",
        "metric of the trial's model that is to be best (default: metric_for_best_model)",
        metavar="METRIC",
    ),
    Option("max_jobs", "trials in all (default: 10; with --strategy Grid: all combinations)", positive, "N"),
    Option("max_parallel_jobs", "trials at the same time", positive, "N", 1),
    Option("strategy", "how the next trial is chosen: Bayesian, Random or Grid", metavar="NAME", default="Bayesian"),
    Option("early_stopping", "let SageMaker stop trials that will not become the best", truth, default=False),
)

OPTIONS: Mapping[str, Option] = MappingProxyType({option.name: option for option in _OPTIONS})

CHANNELS = ("data", "validation", "test", "model")
#: What a job is made of, here and in AWS.
JOB = (*CHANNELS, "instance_count", "job_name", "base_job_name")
TUNING = ("objective", "max_jobs", "max_parallel_jobs", "strategy", "early_stopping")
AWS_JOB = (*JOB, *(name for name in OPTIONS if name not in (*JOB, *TUNING)))
