"""The keys of the public files as tables, for docs/outputs.md and for the test that freezes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from text_classifier.contract import schema
from text_classifier.contract.schema import UNDEFINED, Scores
from text_classifier.contract.tables import LABEL_ISSUES, LabelIssue, Prediction

FILES: Mapping[str, Any] = {
    schema.METRICS: schema.Metrics,
    "metrics by name": Scores,
    schema.MANIFEST: schema.Manifest,
    schema.DATA_REPORT: schema.DataReport,
    "predictions_*.csv and the output of predict": Prediction,
    LABEL_ISSUES: LabelIssue,
}


def tables() -> dict[str, list[tuple[str, str, str]]]:
    """The keys of each file in order: dotted path, JSON type, meaning. An object type is expanded where it is first
    used; `<metric>` stands for the keys of the table "metrics by name"."""
    return {name: list(_rows(kind, "", set())) for name, kind in FILES.items()}


def _rows(kind: Any, prefix: str, seen: set[Any]) -> Iterator[tuple[str, str, str]]:
    seen.add(kind)
    hints = get_type_hints(kind, include_extras=True)
    scores = Scores.__optional_keys__
    is_scored = scores <= hints.keys() and (kind is not Scores or prefix != "")
    if is_scored:
        yield f"{prefix}<metric>", "number or null (optional)", kind.__doc__
    for key, hint in hints.items():
        if is_scored and key in scores:
            continue
        is_optional = key in kind.__optional_keys__
        value = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        yield prefix + key, json_type(value) + " (optional)" * is_optional, value.__metadata__[-1]
        for part, suffix in _objects(value):
            if part not in seen:
                yield from _rows(part, f"{prefix}{key}{suffix}.", seen)


def _objects(hint: Any, suffix: str = "") -> Iterator[tuple[Any, str]]:
    """The object types in a type, with their path from it."""
    origin, parts = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        yield hint, suffix
    elif origin is dict:
        yield from _objects(parts[1], f"{suffix}.<{parts[0].__metadata__[0]}>")
    elif origin in (list, Annotated, Union, UnionType):
        for part in parts[:1] if origin is Annotated else parts:
            yield from _objects(part, suffix + "[]" * (origin is list))


def json_type(hint: Any) -> str:
    """A type in JSON's words."""
    words = {str: "string", int: "integer", float: "number", NoneType: "null", Any: "string, number or boolean"}
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return json_type(parts[0]) + " or null" * (UNDEFINED in hint.__metadata__)
    if origin is Literal:
        return " or ".join(map(json.dumps, parts))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(json_type, parts)))
    if origin in (list, dict):
        return f"{'array' if origin is list else 'object'} of {json_type(parts[-1])}"
    return words.get(hint, "object")
