"""The manifest of a trained model, as those who use the model read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text_classifier.contract import schema, schema_files
from text_classifier.contract.errors import SettingsError, quoted
from text_classifier.contract.hyperparameters import TABLE, Hyperparameter
from text_classifier.contract.schema import Manifest

#: The settings that are used.
_SETTINGS = (
    "task",
    "label_separator",
    "text_columns",
    "max_sequence_length",
    "precision",
    "collective_timeout_seconds",
)
#: The keys that are used; a model from before the manifest had a schema version must have them.
NEEDED = ("classes", "temperature", *(f"hyperparameters.{name}" for name in _SETTINGS))

#: A temperature beyond these is none that was fitted, and divides logits to numbers that are not finite.
COLDEST, HOTTEST = 1e-3, 1e3


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a model folder.

    Raises SettingsError for one of another schema and for values that no training writes, OSError and ValueError for
    one that cannot be read.
    """
    path = folder / schema.MANIFEST
    manifest = schema_files.read(path, Manifest, NEEDED)
    if problem := _problem(manifest):
        raise SettingsError(f"{path} has {problem}, which no training writes; unpack model.tar.gz again")
    return manifest


def _problem(manifest: Mapping[str, Any]) -> str | None:
    """The first key with a value that cannot be right, as in "temperature='x'"."""
    classes, settings = manifest.get("classes"), manifest.get("hyperparameters")
    thresholds, temperature = manifest.get("thresholds"), manifest.get("temperature")
    are_right = {
        "classes": isinstance(classes, list) and bool(classes) and all(map(_is_name, classes)),
        "temperature": "temperature" in manifest
        and (temperature is None or (_is_number(temperature) and COLDEST <= temperature <= HOTTEST)),
        "thresholds": thresholds is None
        or (isinstance(thresholds, dict) and all(map(_is_number, thresholds.values()))),
        "steps": type(manifest.get("steps", 0)) is int,
        "hyperparameters": isinstance(settings, dict) and all(name in settings for name in _SETTINGS),
    }
    for key, is_right in are_right.items():
        if not is_right:
            return f"{key}={quoted(manifest.get(key))}"
    assert isinstance(settings, dict)
    return next(
        (
            f"{row.name}={quoted(settings[row.name])}"
            for row in TABLE
            if row.name in settings and not _fits(row, settings)
        ),
        None,
    )


def _fits(row: Hyperparameter, settings: Mapping[str, Any]) -> bool:
    """Whether the value of a hyperparameter has its type, and is in its range."""
    value = settings[row.name]
    if type(value) is not row.type and not (row.type is float and type(value) is int):
        return False
    try:
        row.read(value if isinstance(value, str) else str(value).lower())
    except (SettingsError, ValueError):  # a number of thousands of digits
        return False
    return True


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30 and math.isfinite(value)


def has_pairs(manifest: Manifest) -> bool:
    """Whether the model was trained on pairs of texts."""
    return bool(manifest["hyperparameters"].get("text_pair_columns", "").strip())


def truncation_of(manifest: Manifest) -> str:
    """Which tokens of long texts the model reads, as the hyperparameter `truncation` says it."""
    return str(manifest["hyperparameters"].get("truncation", "head"))
