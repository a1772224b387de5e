"""The command line of launch.py: parsing and --help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from launcher.cli import config
from launcher.cli.commands import COMMANDS, SWITCHES, Command
from launcher.cli.options import AWS_JOB, OPTIONS, Option
from launcher.errors import EXIT_CODES, WRONG_USE
from launcher.plan import checks
from launcher.plan.s3 import path
from launcher.plan.search import DEFAULT_FILE
from text_classifier.contract import hyperparameters, parsing
from text_classifier.contract.errors import UserError, nearest

CONFIG_OPTION = Option("config", f"YAML file with options and hyperparameters (default: {DEFAULT_FILE})", path, "FILE")
JSON_OPTION = Option("json", "print JSON on stdout and everything else on stderr", in_file=False)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Counts the indentation of commands in the width of their column; argparse forgets it and wraps long names."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


def parse(words: Sequence[str], functions: Mapping[str, Callable[..., int]]) -> argparse.Namespace:
    """Parse the command line and train.yaml. Flags override the file, and the file overrides the defaults.

    The result has all options of the command, `function` and, as strings, `hyperparameters`. Raises UserError.
    """
    options, rest = _parser(functions).parse_known_args(words)
    command = COMMANDS[options.command]
    rest = _without_flags(command, rest)
    for argument in command.arguments:
        if argument.repeatable:  # argparse gives it only what stands before the first flag
            vars(options)[argument.name] += map(argument.parse, rest)
            rest = []
    file = config.load(options.config) if command.reads_file else config.Config()
    of_file = file.options(name for name in command.options if getattr(options, name) is None)
    for name in command.options:
        if getattr(options, name) is None:
            setattr(options, name, of_file.get(name, OPTIONS[name].default))
    for option in command.extra:
        if getattr(options, option.name) is None:
            setattr(options, option.name, option.default)
    missing = [f"--{name}" for name in command.required if not getattr(options, name)]
    if missing:
        where = f" here or in {DEFAULT_FILE}" if set(command.required) & set(command.options) else ""
        raise UserError(
            f"{options.command} needs {', '.join(missing)}; give {'it' if len(missing) == 1 else 'them'}{where}, "
            f"see launch.py {options.command} --help"
        )
    options.hyperparameters = _hyperparameters(command, rest, file)
    is_search = command.searches or getattr(options, "tune", False)
    options.ranges = parsing.without_aliases(file.ranges()) if is_search else {}
    options.listings = {}
    for name in parsing.without_aliases(checks.parse_hyperparameters(rest)) if is_search else ():
        if name in options.ranges:
            raise UserError(f"{name} has a value here and a range in the configuration file; remove one of the two")
    return options


def from_values(
    caller: str, values: Mapping[str, Any], file: Path | None, of_file: Sequence[str] = AWS_JOB
) -> argparse.Namespace:
    """The options of a job as Python values, over those of train.yaml or `file`, of which `of_file` are read.

    Raises UserError, naming `caller`.
    """
    given, configured = config.from_mapping(Path(caller), values), config.load(file)
    options = argparse.Namespace(**{name: OPTIONS[name].default for name in AWS_JOB}, listings={})
    vars(options).update(configured.options(name for name in of_file if name not in values))
    vars(options).update(given.options(OPTIONS))
    options.hyperparameters = {
        **parsing.without_aliases(configured.hyperparameters()),
        **parsing.without_aliases(given.hyperparameters()),
    }
    parsing.parse(options.hyperparameters)  # refuses what a job would
    return options


def _without_flags(command: Command, rest: Sequence[str]) -> list[str]:
    """The words that argparse left over, without a `--` that ends the flags. Raises UserError for a flag among them."""
    end = rest.index("--") if "--" in rest else len(rest)
    for name in (word.partition("=")[0] for word in rest[:end]):
        if name.startswith("-") and len(name) > 1 and " " not in name:  # as argparse decides
            raise UserError(f"{name} is not a flag of this command; {_nearest_flag(name, command)}")
    return [*rest[:end], *rest[end + 1 :]]


def _hyperparameters(command: Command, rest: Sequence[str], file: config.Config) -> dict[str, str]:
    if not command.takes_hyperparameters:
        if rest:
            raise UserError(f"unexpected argument {rest[0]!r}; this command takes no hyperparameters")
        return {}
    given = checks.parse_hyperparameters(rest)
    values = {**parsing.without_aliases(file.hyperparameters()), **parsing.without_aliases(given)}
    parsing.parse(values)  # refuses what a job would
    return values


def _nearest_flag(name: str, command: Command) -> str:
    hyperparameter = name.lstrip("-").replace("-", "_")
    if command.takes_hyperparameters and hyperparameter in (row.name for row in hyperparameters.TABLE):
        return f"write hyperparameters as {hyperparameter}=value"
    return nearest(name, [option.flag for option in options_of(command)])


def options_of(command: Command) -> list[Option]:
    """All options of a command."""
    return [
        *([CONFIG_OPTION] if command.reads_file else []),
        *(OPTIONS[name] for name in command.options),
        *command.extra,
        *([JSON_OPTION] if command.prints_json else []),
    ]


def _parser(functions: Mapping[str, Callable[..., int]]) -> Parser:
    top = Parser(
        prog="launch.py",
        description="Fine-tune the text classifier on this machine (local) or on Amazon SageMaker (train).",
        epilog="\n".join(["exit codes:", *(f"  {code:9}{meaning}" for code, meaning in EXIT_CODES.items())]),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        parser = subparsers.add_parser(
            name,
            help=command.about,
            description=f"{command.about[0].upper()}{command.about[1:]}.",
            usage=f"launch.py {name} {command.usage}",
            epilog=_epilog(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(function=functions[name])
        _add_options(parser, command)
    return top


def _add_options(parser: argparse.ArgumentParser, command: Command) -> None:
    for argument in command.arguments:
        count: dict[str, Any] = {"nargs": "*"} if argument.repeatable else {}
        parse = _with_message(argument.parse)
        parser.add_argument(argument.name, metavar=argument.metavar, help=argument.help, type=parse, **count)
    for option in options_of(command):
        default = "" if option.default in (None, False) else f" (default: {option.default})"
        settings: dict[str, Any] = {"dest": option.name, "help": option.help + default, "default": None}
        if option.name in SWITCHES or option is JSON_OPTION:
            parser.add_argument(option.flag, action="store_true", **settings | {"default": False})
        elif option.is_switch:
            parser.add_argument(option.flag, action=argparse.BooleanOptionalAction, **settings)
        else:
            action = "append" if option.repeatable else "store"
            parser.add_argument(
                option.flag, type=_with_message(option.read), action=action, metavar=option.metavar, **settings
            )


def _with_message(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Raise ArgumentTypeError, whose message argparse shows, instead of ValueError, whose message it hides."""

    def parse_for_argparse(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_for_argparse


def _epilog(command: Command) -> str:
    lines = ["examples:", *(f"  launch.py {example}" for example in command.examples)]
    return "\n".join([*lines, *(_hyperparameter_help() if command.takes_hyperparameters else ())])


def _hyperparameter_help() -> Iterable[str]:
    width = max(len(row.name) for row in hyperparameters.TABLE)
    yield "\nhyperparameters:"
    for row in hyperparameters.TABLE:
        yield f"  {row.name:{width}}  {row.help} (default: {row.default!r})"
