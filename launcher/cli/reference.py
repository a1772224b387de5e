"""Reference tables for the documentation, in Markdown, from the declarations that launch.py itself uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from launcher import ROOT
from launcher.cli.arguments import options_of
from launcher.cli.commands import COMMANDS, SWITCHES
from launcher.cli.options import OPTIONS, Option
from launcher.errors import EXIT_CODES
from launcher.plan import instances, prices

TEMPLATE = ROOT / "aws" / "template.yaml"

#: What the actions of PersonPolicy apply to, by service, in the order of the table.
_RESOURCES = {
    "sagemaker": "jobs, tuning and transform jobs, models, endpoints and their configurations",
    "iam": "the role, and that of autoscaling",
    "s3": "the bucket",
    "ecr": "the repository",
    "logs": "`/aws/sagemaker/TrainingJobs`, `/aws/sagemaker/Endpoints`, `/aws/sagemaker/TransformJobs`",
    "application-autoscaling": "the instances of endpoints",
    "cloudwatch": "the alarms of autoscaling",
    "servicequotas": "all",
    "ec2": "all",
    "kms": "the key, if there is one",
}


def tables() -> dict[str, str]:
    """All tables by name, in Markdown."""
    return {
        "commands": _commands(),
        "options": _options(),
        "exit codes": markdown_table(
            ("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in EXIT_CODES.items())
        ),
        "person policy": _person_policy(),
        "instances and prices": _instances(),
    }


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. A `|` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _commands() -> str:
    return markdown_table(
        ("command", "what it does", "arguments"),
        ((f"`{name}`", command.about, f"`{command.usage}`") for name, command in COMMANDS.items()),
    )


def _options() -> str:
    commands: dict[Option, list[str]] = defaultdict(list)
    for name, command in COMMANDS.items():
        for option in options_of(command):
            commands[option].append(name)
    rows = []
    for option in [*OPTIONS.values(), *(option for option in commands if option not in OPTIONS.values())]:
        rows.append(
            (
                _flag(option),
                f"`{option.name}`" if option.name in OPTIONS and option.in_file else "",
                "" if option.default in (None, False) else f"`{option.default}`",
                _takers(commands[option]),
                option.help,
            )
        )
    return markdown_table(("flag", "key in `train.yaml`", "default", "commands", "meaning"), rows)


def _takers(commands: Sequence[str]) -> str:
    others = [name for name in COMMANDS if name not in commands]
    few = others if len(others) < len(commands) / 4 else commands
    named = ", ".join(f"`{name}`" for name in few)
    return named if few is commands else f"all but {named}" if few else "all"


def _flag(option: Option) -> str:
    if option.is_switch:
        return f"`{option.flag}`, `--no{option.flag[1:]}`"
    metavar = f" {option.metavar}" if option.metavar and option.name not in SWITCHES else ""
    return f"`{option.flag}{metavar}`" + (" (repeatable)" if option.repeatable else "")


def _person_policy() -> str:
    policy = _TemplateLoader(TEMPLATE.read_text()).get_single_data()["Resources"]["PersonPolicy"]["Properties"]
    on_resource: dict[str, set[str]] = defaultdict(set)
    on_all: dict[str, set[str]] = defaultdict(set)
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for service, action in (action.split(":") for action in actions):
            (on_all if statement["Resource"] == "*" else on_resource)[service].add(action)
    assert on_resource.keys() | on_all.keys() == _RESOURCES.keys()
    rows = []
    for service, resource in _RESOURCES.items():
        parts = [_names(on_resource[service])] if on_resource[service] else []
        if on_all[service]:
            parts.append(("on all: " if parts else "") + _names(on_all[service]))
        rows.append((f"`{service}`", resource, "; ".join(parts)))
    return markdown_table(("service", "on", "actions"), rows)


def _names(actions: Iterable[str]) -> str:
    return ", ".join(f"`{action}`" for action in sorted(actions))


class _TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's functions (!Sub, !GetAtt, ...) as their arguments."""

    def argument(self, tag: str, node: Any) -> Any:
        """The argument of a function."""
        if isinstance(node, yaml.ScalarNode):
            return self.construct_scalar(node)
        return self.construct_sequence(node, deep=True)


_TemplateLoader.add_multi_constructor("!", _TemplateLoader.argument)


def _instances() -> str:
    least, most = prices.SPOT_SAVING
    return markdown_table(
        ("instance type", "GPU", "GPUs", "memory per GPU", "USD per hour", "usual range on spot", "as of"),
        (_instance(row, least, most) for row in prices.rows()),
    )


def _instance(row: Mapping[str, str], least: float, most: float) -> Sequence[str]:
    family, price = instances.family(row["instance_type"]), float(row["usd_per_hour"])
    gpu = (family.gpu, row["gpus"], f"{family.gpu_memory_gb} GB") if family else ("", "", "")
    spot = f"{price * (1 - most):.2f}-{price * (1 - least):.2f}"
    return (f"`{row['instance_type']}`", *gpu, f"{price:.2f}", spot, row["as_of"])
