"""Reads the JSON files of a job, and checks them against the schema. The files may be anybody's."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from text_classifier.contract.errors import SettingsError, quoted
from text_classifier.contract.schema import SCHEMA_VERSION, UNDEFINED

#: Bytes of such a file. Those of jobs with 10,000 classes have some megabytes.
_LARGEST = 200_000_000

#: The largest integer that JSON keeps exactly everywhere.
_LARGEST_INTEGER = 2**53

Content = TypeVar("Content")


def read(path: Path, kind: type[Content], needed: Sequence[str]) -> Content:
    """Read a JSON file of the schema, or one from before it had versions that has all `needed` keys (dotted paths).

    Raises SettingsError for another version, OSError and ValueError for a file that cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe may never end
        raise ValueError(f"{path} is not a file")
    if status.st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST // 1_000_000} MB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    version = content.get("schema_version", 0)
    if version != SCHEMA_VERSION and (version != 0 or not all(_has(content, key) for key in needed)):
        raise SettingsError(
            f"{path} has schema_version {quoted(version)} and this image reads {SCHEMA_VERSION}; use the image that "
            "wrote it"
        )
    return cast(Content, content)


def _has(content: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


class Problem(NamedTuple):
    """What is wrong with a value of a file."""

    path: str  #: dotted, as in `.rows.train`
    kind: Literal["unknown", "missing", "mistyped"]


def problems(value: Any, hint: Any, path: str = "") -> Iterator[Problem]:
    """Yield what is wrong with the content of a file whose documented type is `hint`."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or (origin is Annotated and UNDEFINED in hint.__metadata__ and value is None):
        return
    if origin in (Annotated, NotRequired):
        yield from problems(value, parts[0], path)
    elif origin in (Union, UnionType):
        # The part that is meant has a value of this kind, and the fewest mistakes in it.
        found = [list(problems(value, part, path)) for part in parts]
        yield from min(found, key=lambda each: (Problem(path, "mistyped") in each, _mistyped(each), len(each)))
    elif is_typeddict(hint) and isinstance(value, dict):
        hints = get_type_hints(hint, include_extras=True)
        yield from (Problem(f"{path}.{key}", "unknown") for key in value if key not in hints)
        yield from (Problem(f"{path}.{key}", "missing") for key in hint.__required_keys__ if key not in value)
        for key in hints:
            if key in value:
                yield from problems(value[key], hints[key], f"{path}.{key}")
    elif origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(item, parts[0], f"{path}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from problems(item, parts[1], f"{path}.{key}")
    elif not (value in parts if origin is Literal else _is_plain(value, hint)):
        yield Problem(path, "mistyped")


def _mistyped(found: Sequence[Problem]) -> int:
    return sum(problem.kind == "mistyped" for problem in found)


def _is_plain(value: Any, hint: Any) -> bool:
    """Whether a number, a string or null is of this type."""
    kinds = {float: (int, float), int: (int,), str: (str,), NoneType: (NoneType,)}.get(hint, ())
    is_huge = isinstance(value, int) and abs(value) > _LARGEST_INTEGER
    return isinstance(value, kinds) and not isinstance(value, bool) and not is_huge


def mistyped(value: Any, hint: Any) -> str | None:
    """The path of the first value that is not of its documented type; None if all are.

    Keys that are missing or unknown are no mistakes: another version may have them.
    """
    return next((path for path, kind in problems(value, hint) if kind == "mistyped"), None)
