"""train.yaml: options and hyperparameters of a job in a file. Flags override it.

    data: my.tsv
    role: arn:aws:iam::${ACCOUNT}:role/training
    tag: {team: support}
    hyperparameters:
      epochs: 2
    ranges:
      learning_rate: {min: 1e-5, max: 1e-4, scaling: Logarithmic}
      train_batch_size: [16, 32]

`ranges` applies to `tune` only. `${NAME}` is replaced by the environment variable. Paths are relative to the file. A
command parses what it uses: a mistake in another option does not stop it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.cli.options import OPTIONS, Option
from launcher.plan.checks import parse_assignment
from launcher.plan.search import DEFAULT_FILE, Range
from text_classifier.contract.errors import UserError, nearest

HYPERPARAMETERS = "hyperparameters"
RANGES = "ranges"

#: What the tags of YAML's own types begin with.
_TAG = "tag:yaml.org,2002:"

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Config:
    """The content of a file whose keys are known. Its values are parsed when they are asked for."""

    file: Path = DEFAULT_FILE
    content: Mapping[str, Any] = field(default_factory=dict)

    def options(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of these options that the file has, parsed. Raises UserError."""
        return {name: _value(self.file, OPTIONS[name], self.content[name]) for name in names if name in self.content}

    def hyperparameters(self) -> dict[str, str]:
        """The hyperparameters as strings. Raises UserError."""
        return _hyperparameters(self.file, self.content.get(HYPERPARAMETERS, {}))

    def ranges(self) -> dict[str, Range]:
        """The ranges, with values as strings. Raises UserError."""
        return _ranges(self.file, self.content.get(RANGES, {}))


def load(file: Path | None) -> Config:
    """Load the file; without one, train.yaml if it exists. Raises UserError."""
    if file is None:
        if not DEFAULT_FILE.is_file():
            return Config()
        file = DEFAULT_FILE
    return from_mapping(file, _load_yaml(file))


def from_mapping(file: Path, content: Mapping[str, Any]) -> Config:
    """The content of `file`, which the messages name. Raises UserError for an unknown key."""
    known = [name for name, option in OPTIONS.items() if option.in_file]
    _refuse_unknown(file, content, [*known, HYPERPARAMETERS, RANGES])
    return Config(file, content)


def _load_yaml(file: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise UserError(
            f"{error.name}, which is needed to read {file}, is not installed in this Python; run `make venv` and use "
            ".venv/bin/python launch.py"
        ) from None

    class Loader(yaml.SafeLoader):
        """Rejects duplicate keys, of which PyYAML would keep the last one. Keys are text, as they are written."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
            names = [key.value for key in keys]
            for key in keys:
                if names.count(key.value) > 1:
                    raise UserError(f"{file}: {key.value!r} is given twice; remove one of the two")
                if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                    key.tag = f"{_TAG}str"
            return super().construct_mapping(node, deep)

        def construct_number(self, node: Any) -> Any:
            """A number as it is written: YAML reads 1_0 as 10, 010 as 8, 1:30 as 90, and fails at 0x_."""
            is_integer = node.tag.endswith(":int")
            try:
                value = self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)
            except (ValueError, IndexError):
                return node.value
            return value if str(value) == node.value else node.value

    for kind in ("int", "float"):
        Loader.add_constructor(f"{_TAG}{kind}", Loader.construct_number)
    Loader.add_constructor(f"{_TAG}timestamp", Loader.construct_yaml_str)  # dates, too, as they are written
    try:
        content = Loader(file.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise UserError(f"--config {file} cannot be read ({error.strerror}); give a YAML file") from None
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:  # PyYAML fails at `!!bool x`
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else _reason(error)
        raise UserError(f"{file}{place} is not valid YAML ({reason}); correct it") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} has no `name: value` lines; `launch.py train --help` lists the names")
    return content


def _reason(error: Exception) -> str:
    return getattr(error, "problem", None) or str(error).splitlines()[0]


def _refuse_unknown(file: Path, content: Mapping[Any, Any], known: list[str]) -> None:
    for name in content:
        if name not in known:
            raise UserError(f"{file}: {str(name)!r} is unknown; {nearest(str(name), known)}")


def _value(file: Path, option: Option, value: Any) -> Any:
    if option.repeatable and option.parse is parse_assignment:
        return list(_mapping(file, option.name, value).items())
    if option.repeatable:
        values = value if isinstance(value, list) else [value]
        return [_parse(file, option, item) for item in values]
    return _parse(file, option, value)


def _parse(file: Path, option: Option, value: Any) -> Any:
    text = _text(file, option.name, value)
    try:
        result = option.read(text)
    except ValueError as error:
        raise UserError(f"{file}: {option.name}: {error}") from None
    return file.parent / result if isinstance(result, Path) else result


def _mapping(file: Path, name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise UserError(f"{file}: {name} must be a mapping of `name: value` lines")
    return {str(key): _text(file, f"{name}.{key}", item) for key, item in value.items()}


def _hyperparameters(file: Path, value: Any) -> dict[str, str]:
    """As `_mapping`; a list or a mapping, such as a label_map, becomes the JSON that the hyperparameter takes."""
    if isinstance(value, dict):
        value = {
            name: _json(file, str(name), item) if isinstance(item, list | dict) else item
            for name, item in value.items()
        }
    return _mapping(file, HYPERPARAMETERS, value)


def _json(file: Path, name: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError) as error:  # a mapping in itself, or of Python with a key that JSON does not have
        raise UserError(f"{file}: {HYPERPARAMETERS}.{name} cannot be written as JSON ({error}); correct it") from None


def _ranges(file: Path, value: Any) -> dict[str, Range]:
    if not isinstance(value, dict):
        raise UserError(f"{file}: {RANGES} must be a mapping of `name: range` lines")
    return {
        str(name): [_text(file, f"{RANGES}.{name}", choice) for choice in item]
        if isinstance(item, list)
        else _mapping(file, f"{RANGES}.{name}", item)
        for name, item in value.items()
    }


def _text(file: Path, name: str, value: Any) -> str:
    """A scalar as the text of a flag, with environment variables replaced."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, list | dict):
        raise UserError(f"{file}: {name} must be a single value; write it as `{name.split('.')[-1]}: value`")

    def variable(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise UserError(
                f"{file}: {name} uses ${{{match[1]}}}, which is not set; set the variable, or write the value"
            ) from None

    return _VARIABLE.sub(variable, str(value))
