"""A manifest with values that training does not write is refused in one sentence, which names the file and the key."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from support.broken_models import MISSING, VALUES
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import MANIFEST
from text_classifier.contract.trained import NEEDED, read_manifest
from text_classifier.evaluation import calibration

GOOD: dict[str, Any] = {
    "schema_version": 1, "classes": ["a", "b"], "temperature": 1.5, "thresholds": {"a": 0.5, "b": 0.25}, "steps": 7,
    "status": "completed", "hyperparameters": asdict(Settings()),
}  # fmt: skip

#: What each key may be.
TYPES = {"classes": list, "temperature": (float, int, type(None)), "thresholds": (dict, type(None)), "steps": int}


def written(folder: Path, content: Any) -> Path:
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def test_what_training_writes_is_read(tmp_path: Path) -> None:
    assert read_manifest(written(tmp_path, GOOD)) == GOOD
    old = {key: value for key, value in GOOD.items() if key not in ("schema_version", "thresholds")}
    old["hyperparameters"] = {
        key.partition(".")[2]: GOOD["hyperparameters"][key.partition(".")[2]] for key in NEEDED[2:]
    }
    assert read_manifest(written(tmp_path, old)) == old


@pytest.mark.parametrize(
    "key", [*TYPES, "hyperparameters", *(f"hyperparameters.{name}" for name in asdict(Settings()))]
)
def test_any_value_is_right_or_named(key: str, tmp_path: Path) -> None:
    sentences: list[str] = []
    name = key.rpartition(".")[2]
    for value in VALUES:
        content = copy.deepcopy(GOOD)
        parent = content if "." not in key else content["hyperparameters"]
        if value is MISSING:
            del parent[name]
        else:
            parent[name] = value
        written(tmp_path, content)
        try:
            read = read_manifest(tmp_path)
        except SettingsError as error:
            sentences.append(str(error))
            continue
        if value is not MISSING and key in TYPES:
            assert isinstance(value, TYPES[key]) and not isinstance(value, bool), (key, value)
        for setting, default in asdict(Settings()).items():
            found: Any = read["hyperparameters"].get(setting, default)
            assert isinstance(found, type(default)) or (isinstance(default, float) and isinstance(found, int))
    pattern = rf"{re.escape(str(tmp_path / MANIFEST))} has ({name}|hyperparameters)=.+, which no training writes; .+"
    assert len(sentences) > 10 and all(re.fullmatch(pattern, sentence) for sentence in sentences), sentences


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 9.9e-4, 1_001, 9e29])
def test_a_temperature_that_no_training_fits_is_refused(temperature: float, tmp_path: Path) -> None:
    """Logits that are divided by it would overflow."""
    with pytest.raises(SettingsError, match=f"{MANIFEST} has temperature={re.escape(repr(temperature))}, which no"):
        read_manifest(written(tmp_path, GOOD | {"temperature": temperature}))


def test_each_temperature_that_training_fits_is_read(tmp_path: Path) -> None:
    for temperature in (calibration.COLDEST, 1, calibration.HOTTEST):
        assert read_manifest(written(tmp_path, GOOD | {"temperature": temperature}))["temperature"] == temperature


def test_classes_are_names_that_can_be_written(tmp_path: Path) -> None:
    for classes in ([], [1], ["a", None], ["\ud800"]):
        with pytest.raises(SettingsError, match=f"{MANIFEST} has classes="):
            read_manifest(written(tmp_path, GOOD | {"classes": classes}))
