"""The command line of launch.py: its commands, their flags and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import hyperparameters
from launcher import request

LOCAL_IMAGE = "sagemaker-text-classification:local"

EXAMPLES = """examples:
  launch.py local
  launch.py local --data my.tsv epochs=2 label_column=stars
  launch.py plan  --image URI --role ARN --data my.tsv --region eu-west-1 epochs=2
  launch.py train --image URI --role ARN --data my.tsv --region eu-west-1 epochs=2
"""

WRONG_USE = 2

_COMMANDS = {
    "local": "train in containers of this machine (SageMaker local mode), with no AWS account",
    "plan": "print the CreateTrainingJob request that `train` would send, and call nothing",
    "train": "upload the data, train on SageMaker and follow the log",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser(commands: Mapping[str, Callable[..., int]]) -> Parser:
    """Make the parser. It leaves hyperparameters (`name=value`) unparsed and sets `command` to a function."""
    top = Parser(
        prog="launch.py",
        description="Fine-tune the text classifier on this machine (local) or on Amazon SageMaker (train).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, about in _COMMANDS.items():
        _add_command(subparsers, name, about).set_defaults(command=commands[name])
    return top


def _add_command(subparsers: Any, name: str, about: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        usage=f"launch.py {name} [options] [hyperparameter=value ...]",
        epilog=_hyperparameter_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    is_local = name == "local"
    data_help = "file or folder of rows to train on" + (" (default: the demo data)" if is_local else "")
    command.add_argument("--data", type=Path, metavar="PATH", required=not is_local, help=data_help)
    command.add_argument("--validation", type=Path, metavar="PATH", help="rows to choose the best epoch by")
    command.add_argument("--test", type=Path, metavar="PATH", help="rows to measure the result on")
    command.add_argument(
        "--model", type=Path, metavar="FOLDER", help="model to start from, as save_pretrained wrote it"
    )
    command.add_argument("--instance-count", type=_positive, default=1, metavar="N", help="hosts (default 1)")
    command.add_argument("--job-name", metavar="NAME", help="exact name (default: base job name and time)")
    command.add_argument(
        "--base-job-name",
        default=request.DEFAULT_BASE_JOB_NAME,
        metavar="NAME",
        help="beginning of the job's name, and its folder in the bucket (default %(default)s)",
    )
    if is_local:
        command.add_argument("--image", default=LOCAL_IMAGE, metavar="IMAGE", help="(default %(default)s)")
    else:
        _add_aws_options(command)
    return command


def _add_aws_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--image", required=True, metavar="URI", help="image in ECR, with its digest or tag")
    command.add_argument("--role", required=True, metavar="ARN", help="execution role of the job")
    command.add_argument("--bucket", metavar="NAME", help="(default: sagemaker-REGION-ACCOUNT, as the SDK has it)")
    command.add_argument("--region", help="(default: AWS_REGION, AWS_DEFAULT_REGION, the image's region)")
    command.add_argument(
        "--instance-type", default=request.DEFAULT_INSTANCE_TYPE, metavar="TYPE", help="(default %(default)s)"
    )
    command.add_argument(
        "--volume-size",
        type=_positive,
        default=request.DEFAULT_VOLUME_GB,
        metavar="GB",
        help="(default %(default)s)",
    )
    command.add_argument(
        "--max-run",
        type=_positive,
        default=request.DEFAULT_MAX_RUN_SECONDS,
        metavar="SECONDS",
        help="the job is stopped after so long (default %(default)s)",
    )
    command.add_argument(
        "--spot", action="store_true", help="on spot instances; a job that is reclaimed goes on from its checkpoint"
    )
    command.add_argument(
        "--max-wait",
        type=_positive,
        metavar="SECONDS",
        help="with --spot: waiting for instances and running, together (default: twice --max-run)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _hyperparameter_help() -> str:
    width = max(len(row.name) for row in hyperparameters.TABLE)
    rows = (f"  {row.name:{width}}  {row.help} (default {row.default!r})" for row in hyperparameters.TABLE)
    return "\n".join(["hyperparameters:", *rows])
