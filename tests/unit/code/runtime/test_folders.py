from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from text_classifier.contract.errors import DataError, PlatformError
from text_classifier.runtime.folders import JobFolders


def test_hyperparameters_become_strings_without_sagemakers_own(tmp_path: Path) -> None:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    raw = {"epochs": "2", "seed": 3, "sagemaker_program": "x", "_tuning_objective_metric": "y"}
    (config / "hyperparameters.json").write_text(json.dumps(raw))
    assert JobFolders(tmp_path).hyperparameters() == {"epochs": "2", "seed": "3"}


def test_each_trial_of_a_tuning_job_has_checkpoints_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text("{}")
    monkeypatch.setenv("TRAINING_JOB_NAME", "search-001-abcd")
    job = JobFolders(tmp_path)
    assert job.checkpoints == tmp_path / "checkpoints"
    (config / "hyperparameters.json").write_text('{"_tuning_objective_metric": "f1_macro"}')
    assert job.checkpoints == tmp_path / "checkpoints" / "search-001-abcd"
    assert tmp_path / "checkpoints" in job.outputs()
    monkeypatch.delenv("TRAINING_JOB_NAME")
    with pytest.raises(PlatformError, match="has no name; set TRAINING_JOB_NAME"):
        _ = job.checkpoints


def test_a_broken_configuration_file_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "resourceconfig.json").write_text("{")
    with pytest.raises(PlatformError, match="resourceconfig.json cannot be read .*; start the job again"):
        JobFolders(tmp_path).resources()


def test_outputs_that_cannot_be_written_are_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file where the folder should be")
    with pytest.raises(PlatformError, match="model is not writable .*; mount it writable for user"):
        JobFolders(tmp_path).require_writable_outputs()


def test_all_processes_of_a_host_may_look_at_the_outputs_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: JobFolders(tmp_path).require_writable_outputs(), range(400)))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_first_failure_stays(tmp_path: Path) -> None:
    job = JobFolders(tmp_path)
    assert job.failure() is None
    job.write_failure(DataError("first"))
    job.write_failure(DataError("second"))
    assert job.failure() == "Your data: first"


def test_a_failure_file_that_cannot_be_written_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    JobFolders(tmp_path).write_failure(DataError("x"))
    assert "failure cannot be written: " in capsys.readouterr().out


def test_sagemakers_files_are_looked_for_at_the_start(tmp_path: Path) -> None:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    for name in ("hyperparameters.json", "resourceconfig.json", "inputdataconfig.json"):
        with pytest.raises(PlatformError, match=f"{name} is missing; run the image as a SageMaker job or"):
            JobFolders(tmp_path).require_configuration()
        (config / name).write_text("{}")
    JobFolders(tmp_path).require_configuration()
