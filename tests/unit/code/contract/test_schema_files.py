"""Files of jobs, read by whoever has them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.schema import SCHEMA_VERSION, Manifest, Metrics
from text_classifier.contract.schema_files import mistyped, problems, read


def test_the_check_finds_what_is_wrong() -> None:
    found = set(problems({"epochs": [{"accuracy": "1", "accurracy": 1}], "rows": {"train": 1.5}}, Metrics, "m"))
    assert {("m.headline", "missing"), ("m.epochs[0].accurracy", "unknown")} < found
    assert {("m.epochs[0].accuracy", "mistyped"), ("m.rows.train", "mistyped")} < found


@pytest.mark.parametrize(
    ("content", "is_read"),
    [
        ({"schema_version": SCHEMA_VERSION}, True),
        ({"schema_version": SCHEMA_VERSION + 1, "classes": [], "hyperparameters": {"task": "x"}}, False),
        ({"classes": [], "hyperparameters": {"task": "x"}}, True),
        ({"classes": [], "hyperparameters": {}}, False),
        ({"classes": []}, False),
    ],
)
def test_another_version_is_refused_in_one_sentence(tmp_path: Path, content: object, is_read: bool) -> None:
    (tmp_path / "m.json").write_text(json.dumps(content))
    if is_read:
        assert read(tmp_path / "m.json", Manifest, ("classes", "hyperparameters.task")) == content
    else:
        with pytest.raises(SettingsError, match="m.json has schema_version [02] and this image reads 1; use the image"):
            read(tmp_path / "m.json", Manifest, ("classes", "hyperparameters.task"))


def test_a_version_of_any_length_is_one_short_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"schema_version": "\x1b[2J\naccuracy=0.9;" * 1_000}))
    with pytest.raises(SettingsError) as error:
        read(tmp_path / "m.json", Manifest, ())
    assert str(error.value).isprintable() and len(str(error.value)) < len(str(tmp_path)) + 250


def test_a_file_that_never_ends_or_is_too_deep_or_too_large_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "deep").write_text('{"a":' * 100_000)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**12)
    for name, reason in (("pipe", "not a file"), ("deep", "nested too deeply"), ("large", "larger than 200 MB")):
        with pytest.raises(ValueError, match=f"{name} is {reason}"):
            read(tmp_path / name, Manifest, ())


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ({"rows": {"train": 4}, "validation": {"accuracy": None, "intervals": {"accuracy": [0.5, None]}}}, None),
        ({"more": 1, "validation": {"accuracy": 1}}, None),
        ({"rows": 4}, ".rows"),
        ({"rows": {"train": 1.5}}, ".rows.train"),
        ({"rows": {"train": True}}, ".rows.train"),
        ({"steps": 10**400}, ".steps"),
        ({"accuracy": 10**400}, ".accuracy"),
        ({"validation": {"accuracy": "x"}}, ".validation.accuracy"),
        ({"validation": {"intervals": {"f1_macro": ["x"]}}}, ".validation.intervals.f1_macro[0]"),
        ({"validation": None}, ".validation"),
        ({"epochs": [{}, 1]}, ".epochs[1]"),
    ],
)
def test_a_value_of_another_type_is_found(content: object, wrong: str | None) -> None:
    assert mistyped(content, Metrics) == wrong


def test_what_is_no_object_is_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        read(tmp_path / "m.json", Manifest, ())
