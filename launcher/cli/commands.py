"""The commands of launch.py, declared once: help text, examples and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.cli.options import (
    AWS_JOB,
    JOB,
    OPTIONS,
    TUNING,
    Option,
    given,
    percent,
    port,
    positive_int,
    resource_name,
)
from launcher.local.engine import LOCAL_IMAGE
from launcher.plan.checks import parse_assignment
from launcher.plan.s3 import location, path
from launcher.plan.scaling import scale
from launcher.plan.transform import DEFAULT_MAX_PAYLOAD

_ON_AWS = "--image URI --role ARN --data my.tsv --region eu-west-1"


@dataclass(frozen=True)
class Argument:
    """A positional argument; a `repeatable` one may be given several times, or not at all."""

    name: str
    help: str
    repeatable: bool = False
    parse: Callable[[str], Any] = given

    @property
    def metavar(self) -> str:
        return self.name.upper()


JOB_NAME = Argument("job", "name of the job", parse=resource_name)
ENDPOINT_NAME = Argument("name", "name of the endpoint", parse=resource_name)
_MODEL = Argument("model", "name of a job, or URI of a model.tar.gz in S3", parse=resource_name)


@dataclass(frozen=True)
class Command:
    """A command: its help, the options it takes, and which of them are required."""

    about: str
    examples: Sequence[str]
    options: Sequence[str] = ("region",)
    required: Sequence[str] = ()
    extra: Sequence[Option] = ()
    arguments: Sequence[Argument] = ()
    takes_hyperparameters: bool = False
    searches: bool = False
    prints_json: bool = True

    @property
    def reads_file(self) -> bool:
        """Whether train.yaml may have any of its options."""
        return bool(self.options)

    @property
    def usage(self) -> str:
        """The arguments in one line."""
        words = [f"[{each.metavar} ...]" if each.repeatable else each.metavar for each in self.arguments]
        return " ".join([*words, "[options]", *(["[hyperparameter=value ...]"] if self.takes_hyperparameters else [])])


SWITCHES = {
    option.name: option
    for option in (
        Option("yes", "start the job or endpoint without asking (without a terminal it never asks)", in_file=False),
        Option("stop_on_interrupt", "stop the job on Ctrl-C; by default it keeps running", in_file=False),
        Option("skip_checks", "skip the checks of role, bucket, image and quota in AWS", in_file=False),
        Option("skip_data_check", "skip the check of the data in the image on this machine", in_file=False),
        Option("no_wait", "return without waiting until the job has stopped", in_file=False),
        Option("tune", "plan `tune` instead of `train`", in_file=False),
        Option("request", "print the request to AWS too", in_file=False),
        Option("calibrated", "scale the logits by the temperature fitted on the validation data", in_file=False),
        Option("fitted_thresholds", "predict the labels above the thresholds of thresholds=fitted", in_file=False),
        Option("serverless", "create a serverless endpoint, which costs nothing without requests", in_file=False),
        Option("plan", "print the requests to AWS and the price; creates nothing", in_file=False),
        Option("follow", "follow the log until the job ends", in_file=False),
    )
}

_LOCAL_IMAGE = Option("image", "image on this machine", metavar="IMAGE", default=LOCAL_IMAGE, in_file=False)

#: The options of what runs a model on AWS: `deploy` and `transform`.
_SERVING = (
    Option("instance_type", "instance type to serve on (default: ml.c5.xlarge)", metavar="TYPE", in_file=False),
    Option("count", "number of instances (default: 1)", positive_int, "N", in_file=False),
    Option("image", "image in ECR (default: the job's; needed for a model in S3)", metavar="URI", in_file=False),
    Option("role", "role that serves (default: the job's; needed for a model in S3)", metavar="ARN", in_file=False),
    Option("environment", "setting of the server", parse_assignment, "NAME=VALUE", repeatable=True, in_file=False),
    Option("tag", "tag of all that is created", parse_assignment, "NAME=VALUE", repeatable=True, in_file=False),
    Option("price", OPTIONS["price"].help, OPTIONS["price"].parse, "AMOUNT", in_file=False),
    SWITCHES["yes"],
    SWITCHES["plan"],
)

_DEPLOYING = (
    Option("name", "name of endpoint, configuration and model (default: the job's)", metavar="NAME", in_file=False),
    *_SERVING,
    SWITCHES["serverless"],
    Option("memory", "with --serverless: memory, 1024 to 6144 (default: 3072)", positive_int, "MB", in_file=False),
    Option("concurrency", "with --serverless: requests at a time (default: 5)", positive_int, "N", in_file=False),
    Option(
        "scale", "scale between these numbers of instances, by requests per minute", scale, "MIN-MAX", in_file=False
    ),
    Option(
        "scale_requests",
        "with --scale: requests per minute and instance to aim at (default: 600)",
        positive_int,
        "N",
        in_file=False,
    ),
    Option("capture", "folder in S3 in which requests and responses are stored", location, "S3URI", in_file=False),
    Option("capture_percent", "with --capture: share of the requests (default: 100)", percent, "N", in_file=False),
)

_TRANSFORMING = (
    Option(
        "data",
        "records: .csv, .jsonl or .txt, a file or folder here, or a prefix in S3",
        location,
        "PATH",
        in_file=False,
    ),
    Option("output", "folder in S3 for the scores (default: in the model's bucket)", location, "S3URI", in_file=False),
    Option("download", "folder on this machine into which the scores are downloaded", path, "FOLDER", in_file=False),
    Option("name", "name of the job (default: that of the model's job and time)", metavar="NAME", in_file=False),
    Option("format", "csv, jsonl or txt (default: by the names of the files)", metavar="NAME", in_file=False),
    Option(
        "max_payload", "most MB per request, and per record", positive_int, "MB", DEFAULT_MAX_PAYLOAD, in_file=False
    ),
    Option("kms_key", "KMS key for the uploaded data and the scores", metavar="KEY", in_file=False),
    Option("volume_kms_key", OPTIONS["volume_kms_key"].help, metavar="KEY", in_file=False),
    *_SERVING,
)

_SUBMITTING = tuple(SWITCHES[name] for name in ("yes", "stop_on_interrupt", "skip_checks", "skip_data_check"))

COMMANDS: Mapping[str, Command] = {
    "local": Command(
        "train in containers on this machine (SageMaker local mode); needs no AWS account",
        ("local", "local --data my.tsv epochs=2 label_column=stars"),
        JOB,
        extra=(_LOCAL_IMAGE, SWITCHES["skip_data_check"]),
        takes_hyperparameters=True,
        prints_json=False,
    ),
    "check": Command(
        "validate the data like a training job, in the image on this machine, and print a summary",
        ("check --data my.tsv", "check --data my.tsv label_column=stars"),
        ("data", "validation", "test", "region", "check_rows"),
        required=("data",),
        extra=(_LOCAL_IMAGE,),
        takes_hyperparameters=True,
        prints_json=False,
    ),
    "predict": Command(
        "classify the rows of a file with an unpacked model, in the image on this machine",
        ("predict --model build/jobs/my-job/model --data new.csv --output scores.csv",),
        (),
        required=("model", "data", "output"),
        extra=(
            Option("model", "folder of an unpacked model.tar.gz", path, "FOLDER", in_file=False),
            Option("data", "file with unlabeled rows", path, "PATH", in_file=False),
            Option("output", "CSV file to write: row, class, one probability per class", path, "PATH", in_file=False),
            SWITCHES["calibrated"],
            SWITCHES["fitted_thresholds"],
            _LOCAL_IMAGE,
        ),
        prints_json=False,
    ),
    "serve": Command(
        "serve an unpacked model with the image on this machine, until Ctrl-C",
        ("serve build/jobs/my-job/model", "serve model --port 9000"),
        (),
        extra=(Option("port", "port on this machine", port, "N", 8080, in_file=False), _LOCAL_IMAGE),
        arguments=(Argument("model", "folder of an unpacked model.tar.gz", parse=path),),
        prints_json=False,
    ),
    "plan": Command(
        "print what `train` reads, writes and costs at most, and the findings of `doctor`; changes nothing",
        (f"plan {_ON_AWS} epochs=2", f"plan {_ON_AWS} --price 1.41", "plan --tune", "plan --skip-checks --request"),
        (*AWS_JOB, *TUNING),
        required=("data", "image", "role"),
        extra=tuple(SWITCHES[name] for name in ("tune", "request", "skip_checks")),
        takes_hyperparameters=True,
    ),
    "doctor": Command(
        "check credentials, role, bucket, data, image, instance type, quota, network, keys and Docker; changes nothing",
        ("doctor", "doctor --image URI --role ARN --region eu-west-1 --instance-type ml.g5.xlarge"),
        AWS_JOB,
    ),
    "train": Command(
        "upload the data, train on SageMaker and follow the log",
        (f"train {_ON_AWS} epochs=2", "train --spot --yes", "train --config other.yaml --job-name my-job"),
        AWS_JOB,
        required=("data", "image", "role"),
        extra=_SUBMITTING,
        takes_hyperparameters=True,
    ),
    "tune": Command(
        "search the `ranges` of train.yaml for the best hyperparameters, with a SageMaker tuning job",
        ("tune --max-jobs 20 --max-parallel-jobs 2", "tune --spot --objective accuracy --early-stopping --yes"),
        (*AWS_JOB, *TUNING),
        required=("data", "image", "role"),
        extra=_SUBMITTING,
        takes_hyperparameters=True,
        searches=True,
    ),
    "status": Command(
        "show a job's status, metrics, billable time, cost and model URI, or a tuning job's trials; transform jobs too",
        ("status my-job", "status my-job --price 1.41", "status my-job --json"),
        ("region", "price"),
        arguments=(JOB_NAME,),
    ),
    "logs": Command(
        "print the log of a training or transform job",
        ("logs my-job", "logs my-job --follow"),
        extra=(SWITCHES["follow"],),
        arguments=(JOB_NAME,),
        prints_json=False,
    ),
    "attach": Command(
        "follow a running job to its end, like `train`, `tune` and `transform`",
        ("attach my-job", "attach my-job --stop-on-interrupt"),
        ("region", "price"),
        extra=(SWITCHES["stop_on_interrupt"],),
        arguments=(JOB_NAME,),
    ),
    "stop": Command(
        "stop a job; one that trains saves its state first",
        ("stop my-job", "stop my-job --no-wait"),
        extra=(SWITCHES["no_wait"],),
        arguments=(JOB_NAME,),
        prints_json=False,
    ),
    "list": Command(
        "list the newest training, tuning and transform jobs whose name contains the base job name",
        ("list", "list --base-job-name tickets --limit 50", "list --json"),
        ("region", "base_job_name"),
        extra=(Option("limit", "maximum number of jobs", positive_int, "N", 20, in_file=False),),
    ),
    "download": Command(
        "download and unpack a job's model and report",
        ("download my-job", "download my-job --to results"),
        extra=(Option("to", "folder to create (default: build/jobs/JOB)", path, "FOLDER", in_file=False),),
        arguments=(JOB_NAME,),
    ),
    "compare": Command(
        "compare two runs: the settings that differ and the metrics, on the terminal and as one HTML page",
        ("compare my-job other-job", "compare build/local/demo results/metrics.json --output comparison.html"),
        extra=(
            Option("output", "page to write (default: build/compare/FIRST-SECOND.html)", path, "FILE", in_file=False),
        ),
        arguments=(
            Argument(
                "first",
                "name of a job, a metrics.json or a folder with one; a job is downloaded if need be",
                parse=resource_name,
            ),
            Argument("second", "what to compare it with", parse=resource_name),
        ),
        prints_json=False,
    ),
    "deploy": Command(
        "create an endpoint for the model of a job, or for a model.tar.gz in S3, and wait until it is in service",
        (
            "deploy my-job",
            "deploy my-job --serverless --memory 3072 --concurrency 5",
            "deploy s3://my-bucket/model.tar.gz --name reviews --image URI --role ARN --instance-type ml.m5.large",
            "deploy my-job --scale 1-4 --capture s3://my-bucket/captured/ --capture-percent 10",
            "deploy my-job --plan",
        ),
        extra=_DEPLOYING,
        arguments=(_MODEL,),
    ),
    "invoke": Command(
        "classify texts with an endpoint: those given, or the lines of a file or of standard input",
        (
            'invoke my-job "Broke after a week." "Works fine."',
            "invoke my-job --data texts.txt --json",
            "invoke my-job --top-k 3 < texts.txt",
        ),
        extra=(
            Option("data", "UTF-8 file with one text per line", path, "FILE", in_file=False),
            Option("top_k", "number of classes per text (default: the server's)", positive_int, "N", in_file=False),
            SWITCHES["calibrated"],
        ),
        arguments=(ENDPOINT_NAME, Argument("text", "text to classify", repeatable=True, parse=str)),
    ),
    "transform": Command(
        "classify a file, a folder or objects in S3 with batch transform: scores in S3, downloaded on request",
        (
            "transform my-job --data new.csv --download scores",
            "transform my-job --data s3://my-bucket/new/ --output s3://my-bucket/scores/ --count 2",
            "transform my-job --data new.jsonl --plan",
        ),
        required=("data",),
        extra=_TRANSFORMING,
        arguments=(_MODEL,),
    ),
    "endpoints": Command(
        "list the endpoints that `deploy` created, with their cost per hour",
        ("endpoints", "endpoints --region eu-west-1 --json"),
    ),
    "undeploy": Command(
        "delete an endpoint with its scaling, configuration and model, so that nothing is billed any more",
        ("undeploy my-job",),
        arguments=(ENDPOINT_NAME,),
        prints_json=False,
    ),
}
