"""The commands of launch.py, declared once: what they take, and the examples of their help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.options import AWS_JOB, JOB, TUNING, Option, positive
from launcher.local.engine import LOCAL_IMAGE

_ON_AWS = "--image URI --role ARN --data my.tsv --region eu-west-1"


@dataclass(frozen=True)
class Command:
    """A command: which options it takes, which of them it cannot do without, and whether it names a job."""

    about: str
    examples: Sequence[str]
    options: Sequence[str] = ("region",)
    required: Sequence[str] = ()
    extra: Sequence[Option] = ()
    takes_job: bool = False
    takes_hyperparameters: bool = False
    searches: bool = False
    prints_json: bool = True


SWITCHES = {
    option.name: option
    for option in (
        Option("yes", "do not ask before the job is started", in_file=False),
        Option("stop_on_interrupt", "Ctrl-C stops the job, which otherwise goes on", in_file=False),
        Option("skip_checks", "do not ask AWS first whether role, bucket, image and quota will do", in_file=False),
        Option("skip_data_check", "do not read the data in the image on this machine first", in_file=False),
        Option("no_wait", "do not wait for its end", in_file=False),
        Option("tune", "the request of `tune`, not that of `train`", in_file=False),
        Option("calibrated", "divide the logits by the temperature fitted on the validation rows", in_file=False),
        Option("follow", "go on until the job ends", in_file=False),
    )
}

_LOCAL_IMAGE = Option("image", "image on this machine", metavar="IMAGE", default=LOCAL_IMAGE, in_file=False)

_SUBMITTING = tuple(SWITCHES[name] for name in ("yes", "stop_on_interrupt", "skip_checks", "skip_data_check"))

COMMANDS: Mapping[str, Command] = {
    "local": Command(
        "train in containers of this machine (SageMaker local mode), with no AWS account",
        ("local", "local --data my.tsv epochs=2 label_column=stars"),
        JOB,
        extra=(_LOCAL_IMAGE, SWITCHES["skip_data_check"]),
        takes_hyperparameters=True,
        prints_json=False,
    ),
    "check": Command(
        "read the data as a job would, in the image on this machine, and print what it holds",
        ("check --data my.tsv", "check --data my.tsv label_column=stars"),
        ("data", "validation", "test"),
        required=("data",),
        extra=(_LOCAL_IMAGE,),
        takes_hyperparameters=True,
        prints_json=False,
    ),
    "predict": Command(
        "classify the rows of a file with an unpacked model, in the image on this machine",
        ("predict --model build/jobs/reviews-7/model --data new.csv --output scores.csv",),
        (),
        required=("model", "data", "output"),
        extra=(
            Option("model", "folder that a model.tar.gz was unpacked to", Path, "FOLDER", in_file=False),
            Option("data", "file of rows without labels", Path, "PATH", in_file=False),
            Option(
                "output", "CSV file to write: row, class, a probability for each class", Path, "PATH", in_file=False
            ),
            SWITCHES["calibrated"],
            _LOCAL_IMAGE,
        ),
        prints_json=False,
    ),
    "plan": Command(
        "print the request that `train` would send, what it can cost and what `doctor` finds; changes nothing",
        (f"plan {_ON_AWS} epochs=2", f"plan {_ON_AWS} --price 1.41", "plan --tune", "plan --skip-checks --json"),
        (*AWS_JOB, *TUNING),
        required=("data", "image", "role"),
        extra=tuple(SWITCHES[name] for name in ("tune", "skip_checks")),
        takes_hyperparameters=True,
    ),
    "doctor": Command(
        "check credentials, role, bucket, image, instance type, quota, spot settings and Docker; changes nothing",
        ("doctor", "doctor --image URI --role ARN --region eu-west-1 --instance-type ml.g5.xlarge"),
        AWS_JOB,
    ),
    "train": Command(
        "upload the data, train on SageMaker and follow the log",
        (f"train {_ON_AWS} epochs=2", "train --spot --yes", "train --config other.yaml --job-name reviews-7"),
        AWS_JOB,
        required=("data", "image", "role"),
        extra=_SUBMITTING,
        takes_hyperparameters=True,
    ),
    "tune": Command(
        "train many times on SageMaker, to find the best hyperparameters in the `ranges` of train.yaml",
        ("tune --max-jobs 20 --max-parallel-jobs 2", "tune --spot --objective accuracy --early-stopping --yes"),
        (*AWS_JOB, *TUNING),
        required=("data", "image", "role"),
        extra=_SUBMITTING,
        takes_hyperparameters=True,
        searches=True,
    ),
    "status": Command(
        "say how a job stands: state, metrics, billable time, cost, where its model is; of a tuning job: its trials",
        ("status reviews-7", "status reviews-7 --price 1.41", "status reviews-7 --json"),
        ("region", "price"),
        takes_job=True,
    ),
    "logs": Command(
        "print a job's log",
        ("logs reviews-7", "logs reviews-7 --follow"),
        extra=(SWITCHES["follow"],),
        takes_job=True,
        prints_json=False,
    ),
    "attach": Command(
        "follow the log of a job that runs, to its end, as `train` does",
        ("attach reviews-7", "attach reviews-7 --stop-on-interrupt"),
        ("region", "price"),
        extra=(SWITCHES["stop_on_interrupt"],),
        takes_job=True,
    ),
    "stop": Command(
        "stop a job; it saves what it has first",
        ("stop reviews-7", "stop reviews-7 --no-wait"),
        extra=(SWITCHES["no_wait"],),
        takes_job=True,
        prints_json=False,
    ),
    "list": Command(
        "list the newest jobs that have the base job name in theirs",
        ("list", "list --base-job-name reviews --limit 50", "list --json"),
        ("region", "base_job_name"),
        extra=(Option("limit", "so many", positive, "N", 20, in_file=False),),
    ),
    "download": Command(
        "fetch a job's model and report, and unpack them",
        ("download reviews-7", "download reviews-7 --to results"),
        extra=(Option("to", "folder to make (default: build/jobs/JOB)", Path, "FOLDER", in_file=False),),
        takes_job=True,
    ),
}
