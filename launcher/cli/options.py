"""Every option of launch.py, declared once: flag, train.yaml key, type, default and help."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from launcher.plan import request
from launcher.plan.checks import parse_assignment
from launcher.plan.s3 import location


def positive_int(text: str) -> int:
    """Parse an integer of 1 or more. Raises ValueError."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not an integer of 1 or more")
    return int(text)


def port(text: str) -> int:
    """Parse the number of a TCP port. Raises ValueError."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port; give a number from 1 to 65535")
    return int(text)


def percent(text: str) -> int:
    """Parse a share from 1 to 100. Raises ValueError."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise ValueError(f"{text!r} is not a percentage; give a number from 1 to 100")
    return int(text)


def price(text: str) -> float:
    """Parse an amount of money above 0. Raises ValueError."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) == 0:
        raise ValueError(f"{text!r} is not a price; write it like 1.41")
    return float(text)


def given(text: str) -> str:
    """The text itself. Raises ValueError for an empty one."""
    if not text.strip():
        raise ValueError("the value is empty; give one, or leave it out")
    return text


def resource_name(text: str) -> str:
    """Parse the name of a job or an endpoint, or its ARN. Other texts stay as they are. Raises ValueError."""
    return re.sub(r"^arn:aws[a-z-]*:sagemaker:.*/", "", given(text).strip())


def boolean(text: str) -> bool:
    """Parse true or false. Raises ValueError."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


@dataclass(frozen=True)
class Option:
    """`name` is the key in train.yaml; the flag is the same with hyphens.

    `parse` turns one value into its type and raises ValueError. A `repeatable` option may be given several times; in
    train.yaml it is a list, or a mapping if its values are NAME=VALUE.
    """

    name: str
    help: str
    parse: Callable[[str], Any] = str
    metavar: str | None = None
    default: Any = None
    repeatable: bool = False
    in_file: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def read(self, text: str) -> Any:
        """Parse one value. Raises ValueError, also for an empty one, which an unset variable of the shell leaves."""
        return self.parse(given(text).strip() if self.parse is str else given(text))

    @property
    def is_switch(self) -> bool:
        return self.parse is boolean


_OPTIONS = (
    Option("data", "training data: a file or folder, or s3://bucket/folder/, which is read in place", location, "PATH"),
    Option("validation", "validation data, which chooses the best epoch; as --data", location, "PATH"),
    Option("test", "test data for the final metrics; as --data", location, "PATH"),
    Option(
        "model",
        "model to start from: a folder written by save_pretrained, or a job's model.tar.gz, here or in S3",
        location,
        "PATH",
    ),
    Option("instance_count", "number of instances (with `local`: containers)", positive_int, "N", 1),
    Option("job_name", "exact job name (default: base job name and time)", metavar="NAME"),
    Option(
        "base_job_name",
        "prefix of the job name, and folder in the bucket",
        metavar="NAME",
        default=request.DEFAULT_BASE_JOB_NAME,
    ),
    Option("image", "image in ECR, with digest or tag", metavar="URI"),
    Option("role", "execution role of the job", metavar="ARN"),
    Option("bucket", "S3 bucket for data and results (default: sagemaker-REGION-ACCOUNT)", metavar="NAME"),
    Option(
        "region",
        "AWS region (default: AWS_REGION, AWS_DEFAULT_REGION, the region of the image, of the profile)",
        metavar="NAME",
    ),
    Option("instance_type", "instance type to train on", metavar="TYPE", default=request.DEFAULT_INSTANCE_TYPE),
    Option("volume_size", "disk size of each instance in GB", positive_int, "GB", request.DEFAULT_VOLUME_GB),
    Option(
        "max_run",
        "seconds after which SageMaker stops the job",
        positive_int,
        "SECONDS",
        request.DEFAULT_MAX_RUN_SECONDS,
    ),
    Option("spot", "use spot instances; an interrupted job resumes from its checkpoint", boolean, default=False),
    Option(
        "max_wait",
        "with --spot: maximum seconds of waiting for instances plus running (default: twice --max-run)",
        positive_int,
        "SECONDS",
    ),
    Option(
        "keep_alive",
        "seconds to keep the instances for the next job (warm pool), which is billed",
        positive_int,
        "SECONDS",
    ),
    Option(
        "input_mode",
        "File (copy the data before training) or FastFile (stream it) "
        "(default: File, or FastFile if data in S3 would fill half of the disk)",
        metavar="MODE",
    ),
    Option(
        "distribution",
        "FullyReplicated, or ShardedByS3Key: each host downloads a part of the training data from S3",
        metavar="NAME",
        default="FullyReplicated",
    ),
    Option("check_rows", "rows of data in S3 that the data check downloads", positive_int, "N", 1000),
    Option("subnet", "subnet of your VPC; needs --security-group", metavar="ID", repeatable=True),
    Option("security_group", "security group in your VPC; needs --subnet", metavar="ID", repeatable=True),
    Option("network_isolation", "run the containers without network access; needs --model", boolean, default=False),
    Option("encrypt_inter_container_traffic", "encrypt traffic between instances", boolean, default=False),
    Option("kms_key", "KMS key for the uploaded data and the results", metavar="KEY"),
    Option("volume_kms_key", "KMS key for the disks of the instances", metavar="KEY"),
    Option("tag", "tag of the job, e.g. for cost allocation", parse_assignment, "NAME=VALUE", repeatable=True),
    Option("environment", "environment variable of the containers", parse_assignment, "NAME=VALUE", repeatable=True),
    Option("price", "price of one instance per hour (default: from aws/prices.csv)", price, "AMOUNT"),
    Option("objective", "metric to optimize (default: metric_for_best_model)", metavar="METRIC"),
    Option("max_jobs", "number of trials (default: 10; with --strategy Grid: one per combination)", positive_int, "N"),
    Option("max_parallel_jobs", "number of trials that run at the same time", positive_int, "N", 1),
    Option("strategy", "search strategy: Bayesian, Random or Grid", metavar="NAME", default="Bayesian"),
    Option("early_stopping", "let SageMaker stop trials that fall behind", boolean, default=False),
)

OPTIONS: Mapping[str, Option] = MappingProxyType({option.name: option for option in _OPTIONS})

CHANNELS = ("data", "validation", "test", "model")
#: The options of every job, local or on SageMaker.
JOB = (*CHANNELS, "instance_count", "job_name", "base_job_name")
TUNING = ("objective", "max_jobs", "max_parallel_jobs", "strategy", "early_stopping")
AWS_JOB = (*JOB, *(name for name in OPTIONS if name not in (*JOB, *TUNING)))
