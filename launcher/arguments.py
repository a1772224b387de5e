"""The command line of launch.py: its commands, their flags and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hyperparameters
from failures import UserError
from launcher import checks, config
from launcher.options import AWS_JOB, JOB, LOCAL_IMAGE, OPTIONS, Option

WRONG_USE = 2

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
    prints_json: bool = True


_SWITCHES = {
    option.name: option
    for option in (
        Option("yes", "do not ask before the job is started", in_file=False),
        Option("stop_on_interrupt", "Ctrl-C stops the job, which otherwise goes on", in_file=False),
        Option("skip_checks", "do not ask AWS first whether role, bucket, image and quota will do", in_file=False),
        Option("no_wait", "do not wait for its end", in_file=False),
        Option("calibrated", "divide the logits by the temperature fitted on the validation rows", in_file=False),
        Option("follow", "go on until the job ends", in_file=False),
    )
}

_LOCAL_IMAGE = Option("image", "image on this machine", metavar="IMAGE", default=LOCAL_IMAGE, in_file=False)

COMMANDS: Mapping[str, Command] = {
    "local": Command(
        "train in containers of this machine (SageMaker local mode), with no AWS account",
        ("local", "local --data my.tsv epochs=2 label_column=stars"),
        JOB,
        extra=(_LOCAL_IMAGE,),
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
            _SWITCHES["calibrated"],
            _LOCAL_IMAGE,
        ),
        prints_json=False,
    ),
    "plan": Command(
        "print the CreateTrainingJob request that `train` would send and what it can cost, and call nothing",
        (f"plan {_ON_AWS} epochs=2", f"plan {_ON_AWS} --price 1.41", "plan --json >request.json"),
        AWS_JOB,
        required=("data", "image", "role"),
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
        extra=tuple(_SWITCHES[name] for name in ("yes", "stop_on_interrupt", "skip_checks")),
        takes_hyperparameters=True,
        prints_json=False,
    ),
    "status": Command(
        "say how a job stands: state, metrics, billable time, cost, where its model is",
        ("status reviews-7", "status reviews-7 --price 1.41", "status reviews-7 --json"),
        ("region", "price"),
        takes_job=True,
    ),
    "logs": Command(
        "print a job's log",
        ("logs reviews-7", "logs reviews-7 --follow"),
        extra=(_SWITCHES["follow"],),
        takes_job=True,
        prints_json=False,
    ),
    "attach": Command(
        "follow the log of a job that runs, to its end, as `train` does",
        ("attach reviews-7", "attach reviews-7 --stop-on-interrupt"),
        ("region", "price"),
        extra=(_SWITCHES["stop_on_interrupt"],),
        takes_job=True,
        prints_json=False,
    ),
    "stop": Command(
        "stop a job; it saves what it has first",
        ("stop reviews-7", "stop reviews-7 --no-wait"),
        extra=(_SWITCHES["no_wait"],),
        takes_job=True,
        prints_json=False,
    ),
    "list": Command(
        "list the newest jobs whose name begins with the base job name",
        ("list", "list --base-job-name reviews --limit 50", "list --json"),
        ("region", "base_job_name"),
        extra=(Option("limit", "so many", OPTIONS["instance_count"].kind, "N", 20, in_file=False),),
    ),
    "download": Command(
        "fetch a job's model and report, and unpack them",
        ("download reviews-7", "download reviews-7 --to results"),
        extra=(Option("to", "folder to make (default: build/jobs/JOB)", Path, "FOLDER", in_file=False),),
        takes_job=True,
    ),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(words: Sequence[str], functions: Mapping[str, Callable[..., int]]) -> argparse.Namespace:
    """Read the command line and train.yaml. Flags win, then the file, then the defaults.

    The result has all options of the command, `function` and, as strings, `hyperparameters`. Raises UserError.
    """
    options, rest = _parser(functions).parse_known_args(words)
    command = COMMANDS[options.command]
    file = config.read(options.config)
    for name in command.options:
        if getattr(options, name) is None:
            setattr(options, name, file.options.get(name, OPTIONS[name].default))
    for option in command.extra:
        if getattr(options, option.name) is None:
            setattr(options, option.name, option.default)
    missing = [f"--{name}" for name in command.required if not getattr(options, name)]
    if missing:
        raise UserError(
            f"{options.command} needs {', '.join(missing)}; give {'it' if len(missing) == 1 else 'them'} here or in "
            f"{config.DEFAULT_FILE}, see launch.py {options.command} --help"
        )
    options.hyperparameters = _hyperparameters(command, rest, file.hyperparameters)
    return options


def _hyperparameters(command: Command, rest: Sequence[str], of_file: Mapping[str, str]) -> dict[str, str]:
    flags = _flags(command)
    for word in rest:
        name = word.partition("=")[0]
        if name.startswith("--"):
            raise UserError(f"{name} is not a flag of this command; {_nearest_flag(name, flags, command)}")
    if not command.takes_hyperparameters:
        if rest:
            raise UserError(f"{rest[0]!r} is one word too many; this command takes no hyperparameters")
        return {}
    values = {**of_file, **checks.pairs(rest)}
    hyperparameters.parse(values)
    return values


def _nearest_flag(name: str, flags: Sequence[str], command: Command) -> str:
    if command.takes_hyperparameters and name[2:].replace("-", "_") in (row.name for row in hyperparameters.TABLE):
        return f"hyperparameters are written as {name[2:].replace('-', '_')}=value"
    return config.nearest(name, flags)


def _flags(command: Command) -> list[str]:
    options = [OPTIONS[name] for name in command.options] + list(command.extra)
    return ["--config", *(option.flag for option in options), *(["--json"] if command.prints_json else [])]


def _parser(functions: Mapping[str, Callable[..., int]]) -> Parser:
    top = Parser(
        prog="launch.py",
        description="Fine-tune the text classifier on this machine (local) or on Amazon SageMaker (train).",
        epilog="exit codes: 0 completed, 1 failed, 2 wrong use, 3 refused by a check or by AWS, 4 lost contact (the "
        "job still runs),\n128 + n ended by signal n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        parser = subparsers.add_parser(
            name,
            help=command.about,
            description=f"{command.about[0].upper()}{command.about[1:]}.",
            usage=f"launch.py {name} {'JOB ' if command.takes_job else ''}[options]"
            + (" [hyperparameter=value ...]" if command.takes_hyperparameters else ""),
            epilog=_epilog(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(function=functions[name])
        _add_options(parser, command)
    return top


def _add_options(parser: argparse.ArgumentParser, command: Command) -> None:
    if command.takes_job:
        parser.add_argument("job", metavar="JOB", help="name of the job")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"options and hyperparameters in YAML (default: {config.DEFAULT_FILE})",
    )
    for option in (*(OPTIONS[name] for name in command.options), *command.extra):
        default = "" if option.default in (None, False) else f" (default {option.default})"
        settings: dict[str, Any] = {"dest": option.name, "help": option.help + default, "default": None}
        if option.name in _SWITCHES:
            parser.add_argument(option.flag, action="store_true", **settings | {"default": False})
        elif option.is_switch:
            parser.add_argument(option.flag, action=argparse.BooleanOptionalAction, **settings)
        else:
            action = "append" if option.items else "store"
            parser.add_argument(
                option.flag, type=_with_sentence(option.kind), action=action, metavar=option.metavar, **settings
            )
    if command.prints_json:
        parser.add_argument("--json", action="store_true", help="print JSON, for other programs")


def _with_sentence(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse shows the words of an ArgumentTypeError, but hides those of a ValueError."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _epilog(command: Command) -> str:
    lines = ["examples:", *(f"  launch.py {example}" for example in command.examples)]
    return "\n".join([*lines, *(_hyperparameter_help() if command.takes_hyperparameters else ())])


def _hyperparameter_help() -> Iterable[str]:
    width = max(len(row.name) for row in hyperparameters.TABLE)
    yield "\nhyperparameters:"
    for row in hyperparameters.TABLE:
        yield f"  {row.name:{width}}  {row.help} (default {row.default!r})"
