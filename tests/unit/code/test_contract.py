from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract import Contract
from failures import FAILURE_BYTES, DataError, PlatformError, describe


def test_hyperparameters_become_strings_without_sagemakers_own(tmp_path: Path) -> None:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    raw = {"epochs": "2", "seed": 3, "sagemaker_program": "x", "_tuning_objective_metric": "y"}
    (config / "hyperparameters.json").write_text(json.dumps(raw))
    assert Contract(tmp_path).hyperparameters() == {"epochs": "2", "seed": "3"}


def test_a_broken_configuration_file_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "resourceconfig.json").write_text("{")
    with pytest.raises(PlatformError, match="resourceconfig.json cannot be read .*; start the job again"):
        Contract(tmp_path).resources()


def test_outputs_that_cannot_be_written_are_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file where the folder should be")
    with pytest.raises(PlatformError, match="model cannot be written .*; mount it writable for user"):
        Contract(tmp_path).require_writable_outputs()


def test_the_first_failure_stays(tmp_path: Path) -> None:
    job = Contract(tmp_path)
    assert job.failure() is None
    job.write_failure(DataError("first"))
    job.write_failure(DataError("second"))
    assert job.failure() == "Your data: first"


def test_a_failure_fits_sagemakers_limit_also_in_other_scripts() -> None:
    text = describe(DataError("\N{SNOWMAN}" * 2000))
    assert len(text.encode()) <= FAILURE_BYTES
    assert text.endswith("\N{SNOWMAN}")


def test_a_bug_names_its_type_and_place() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        text = describe(error)
    assert text.startswith("A bug in the training code: KeyError at test_contract.py:")
