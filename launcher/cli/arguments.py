"""The command line of launch.py: how words become options, and what --help prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from launcher.cli import config
from launcher.cli.commands import COMMANDS, SWITCHES, Command
from launcher.cli.options import OPTIONS
from launcher.plan import checks
from text_classifier.contract import hyperparameters
from text_classifier.contract.errors import UserError, nearest

WRONG_USE = 2


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
        where = f"here or in {config.DEFAULT_FILE}" if command.options else "here"
        raise UserError(
            f"{options.command} needs {', '.join(missing)}; give {'it' if len(missing) == 1 else 'them'} {where}, "
            f"see launch.py {options.command} --help"
        )
    options.hyperparameters = _hyperparameters(command, rest, file.hyperparameters)
    options.ranges = file.ranges
    is_search = command.searches or getattr(options, "tune", False)
    for name in checks.pairs(rest) if is_search else ():
        if name in file.ranges:
            raise UserError(f"{name} is given here and has a range in the configuration file; leave one of them out")
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
    values = {**hyperparameters.without_aliases(of_file), **hyperparameters.without_aliases(checks.pairs(rest))}
    hyperparameters.validate(values)
    return values


def _nearest_flag(name: str, flags: Sequence[str], command: Command) -> str:
    if command.takes_hyperparameters and name[2:].replace("-", "_") in (row.name for row in hyperparameters.TABLE):
        return f"hyperparameters are written as {name[2:].replace('-', '_')}=value"
    return nearest(name, flags)


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
        if option.name in SWITCHES:
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
