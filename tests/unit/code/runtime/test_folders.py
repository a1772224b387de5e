from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from text_classifier.contract.errors import DataError, PlatformError, SettingsError
from text_classifier.runtime.folders import JobFolders


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


def test_training_is_the_channel_train(tmp_path: Path) -> None:
    job = JobFolders(tmp_path)
    for name in ("training", "validation", "code", "sm_drivers"):
        (job.data / name).mkdir(parents=True)
    assert job.data_channels() == {"train": job.data / "training", "validation": job.data / "validation"}
    assert job.channel("train") == job.data / "training"
    assert job.ignored_channels() == ["code", "sm_drivers"]
    assert job.data / "training" in job.inputs()
    (job.data / "train").mkdir()
    with pytest.raises(SettingsError, match="has the channels 'train' and 'training', which are the same; keep one"):
        job.data_channels()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("eval", "did you mean validation"),
        ("checkpoints", "name the place of the checkpoints in CheckpointConfig, not as a channel"),
        ("labels", "valid names are train, validation, test, model"),
    ],
)
def test_an_unknown_channel_is_one_sentence(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / "input" / "data" / name).mkdir(parents=True)
    with pytest.raises(SettingsError, match=f"unknown channel '{name}'; {hint}"):
        JobFolders(tmp_path).data_channels()


def test_the_outcome_of_an_earlier_run_is_removed(tmp_path: Path) -> None:
    job = JobFolders(tmp_path)
    job.clear_outcome()
    job.write_failure(DataError("earlier"))
    (tmp_path / "output" / "success").touch()
    job.clear_outcome()
    assert list((tmp_path / "output").iterdir()) == []
    (tmp_path / "output" / "failure").mkdir()
    with pytest.raises(PlatformError, match="failure of an earlier run cannot be removed .*; mount an empty"):
        job.clear_outcome()


def test_a_sharded_channel_may_have_no_file_here(tmp_path: Path) -> None:
    files = {
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]},
        "inputdataconfig": {name: {"S3DistributionType": "ShardedByS3Key"} for name in ("training", "test", "code")},
    }
    job = JobFolders(tmp_path)
    job.configuration.folder.mkdir(parents=True)
    for name, content in files.items():
        (job.configuration.folder / f"{name}.json").write_text(json.dumps(content))
    (job.data / "test").mkdir(parents=True)
    assert list(job.data_channels().items()) == [("test", job.data / "test"), ("train", job.data / "training")]
