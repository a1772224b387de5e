"""Checks files of a job against contract.schema."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from text_classifier.contract.schema import DATA_REPORT, MANIFEST, METRICS, UNDEFINED, DataReport, Manifest, Metrics


def problems_of_job(base: Path) -> list[str]:
    """What is wrong with the public files of a finished or stopped job."""
    output = base / "output" / "data"
    files = {output / METRICS: Metrics, output / DATA_REPORT: DataReport, base / "model" / MANIFEST: Manifest}
    wrong = [line for path, kind in files.items() for line in problems(json.loads(path.read_text()), kind, path.name)]
    for path in output.glob("predictions_*.csv"):
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        if header[:3] != ["row", "label", "predicted"] or not all(n.startswith("probability_") for n in header[3:]):
            wrong.append(f"{path.name}: {header}")
    return wrong


def problems(value: Any, hint: Any, path: str = "") -> list[str]:
    """What is wrong: unknown keys, missing keys, wrong types, each with its path."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or (origin is Annotated and UNDEFINED in hint.__metadata__ and value is None):
        return []
    if origin in (Annotated, NotRequired):
        return problems(value, parts[0], path)
    if origin is Literal:
        return [] if value in parts else [f"{path}: {value!r} is none of {parts}"]
    if origin in (Union, UnionType):
        found = [problems(value, part, path) for part in parts]
        return [] if [] in found else min(found, key=len)
    if is_typeddict(hint):
        return _of_object(value, hint, path)
    if origin is list and isinstance(value, list):
        return [line for index, item in enumerate(value) for line in problems(item, parts[0], f"{path}[{index}]")]
    if origin is dict and isinstance(value, dict):
        return [line for key, item in value.items() for line in problems(item, parts[1], f"{path}.{key}")]
    allowed = {float: (int, float), int: int, str: str, NoneType: NoneType}.get(hint, ())
    if isinstance(value, bool) or not isinstance(value, allowed):
        return [f"{path}: {value!r} is no {hint}"]
    return []


def _of_object(value: Any, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    hints = get_type_hints(kind, include_extras=True)
    wrong = [f"{path}.{key}: unknown" for key in value if key not in hints]
    wrong += [f"{path}.{key}: missing" for key in kind.__required_keys__ if key not in value]
    for key in hints.keys() & value.keys():
        wrong += problems(value[key], hints[key], f"{path}.{key}")
    return wrong
