"""What the report says of the job, its machine and its base model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from text_classifier.contract.parsing import from_arguments
from text_classifier.results import origin
from text_classifier.runtime.folders import JobFolders

SETTINGS = replace(from_arguments([]), model_name="distilbert-base-uncased")


def named(folder: Path) -> tuple[str, str]:
    """The name of the model in a channel, and its source."""
    config = SimpleNamespace(model_type="bert", _name_or_path=str(folder), _commit_hash="claimed")
    found = origin.base_model(SETTINGS, config, folder)
    assert found["revision"] is None and found["architecture"] == "bert"
    return found["name"], found["source"]


def test_a_model_of_the_hub_has_its_name_and_revision() -> None:
    config = SimpleNamespace(model_type="distilbert", _name_or_path="distilbert-base-uncased", _commit_hash="0a1b")
    assert origin.base_model(SETTINGS, config, None) == {
        "name": "distilbert-base-uncased", "architecture": "distilbert", "revision": "0a1b", "source": "hub",
    }  # fmt: skip


def test_the_channel_names_its_model(tmp_path: Path) -> None:
    card, config = tmp_path / "README.md", tmp_path / "config.json"
    assert named(tmp_path) == ("model channel", "unknown")
    card.write_text("---\nbase_model:\n- FacebookAI/roberta-base\n---\n# A model\n")
    assert named(tmp_path) == ("FacebookAI/roberta-base", "model card")
    config.write_text(json.dumps({"_name_or_path": "google-bert/bert-base-cased"}))
    assert named(tmp_path) == ("google-bert/bert-base-cased", "config.json")


@pytest.mark.parametrize(
    "claim",
    ["/opt/ml/model", "./checkpoint-500", "../x", "a/b/c", "<script>", "a b", "a/../b", "x\n", "", 7, None, ["a"]],
)
def test_what_is_no_name_is_not_told(claim: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": claim}))
    (tmp_path / "README.md").write_text(f"---\nbase_model: {json.dumps({'x': claim})}\n---\n")
    assert named(tmp_path) == ("model channel", "unknown")


@pytest.mark.parametrize("content", ["{", "[1]", "---\n- [\n---\n", "---\nbase_model: !!python/name:os.system\n---\n"])
def test_a_damaged_file_is_no_source(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "README.md").write_text(content)
    assert named(tmp_path) == ("model channel", "unknown")


def test_the_run_and_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "input" / "config"
    folder.mkdir(parents=True)
    resources = {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"], "current_instance_type": "ml.g5.xlarge"}
    (folder / "resourceconfig.json").write_text(json.dumps(resources))
    (folder / "hyperparameters.json").write_text(json.dumps({"sagemaker_job_name": '"reviews-7"'}))
    folders = JobFolders(tmp_path)
    monkeypatch.delenv("TRAINING_JOB_NAME", raising=False)
    assert origin.job_name(folders.configuration) == "reviews-7"
    monkeypatch.setenv("TRAINING_JOB_NAME", "reviews-8")
    assert origin.job_name(folders.configuration) == "reviews-8"
    run = origin.run_of(folders)
    assert (run["hosts"], run["instance_type"]) == (2, "ml.g5.xlarge") and run["minutes"] > 0
    assert datetime.fromisoformat(run["finished"]).utcoffset() == timedelta(0)
    gpu = {"gpu": "NVIDIA A10G", "gpus": 4, "finished": "2026-11-29T09:14:01+00:00", "minutes": 12.34}
    manifest: Any = {"training_job": "reviews-8", "run": {**run, **gpu}}
    assert origin.line(manifest) == (
        "Job reviews-8 · 2026-11-29 09:14 UTC · 2 hosts · ml.g5.xlarge, 4 x NVIDIA A10G · "
        "12.3 minutes since the job last started"
    )
    assert origin.line({"training_job": None}) == ""  # type: ignore[typeddict-item]  # of an earlier version
