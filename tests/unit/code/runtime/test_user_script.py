from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("sagemaker_training")

from text_classifier.contract.errors import SettingsError
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.user_script import UserScript


def job(base: Path, **hyperparameters: object) -> JobFolders:
    folders = JobFolders(base)
    folders.configuration.folder.mkdir(parents=True)
    (folders.configuration.folder / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return folders


def test_a_job_without_a_program_has_no_script(tmp_path: Path) -> None:
    folders = job(tmp_path, sagemaker_program=None, sagemaker_submit_directory="s3://bucket/x.tar.gz")
    assert UserScript.of_job(folders) is None


@pytest.mark.parametrize("program", ["mine.py", '"mine.py"'])
def test_the_program_of_the_request_comes_before_that_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "other.py")
    script = UserScript.of_job(job(tmp_path, sagemaker_program=program))
    assert script == UserScript("mine.py", str(tmp_path / "code"), tmp_path / "code")


def test_the_program_of_a_derived_image_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "train.sh")
    script = UserScript.of_job(job(tmp_path))
    assert script is not None and (script.program, script.is_python) == ("train.sh", False)


def test_a_source_is_unpacked_or_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "mine.py").write_text("1")
    with tarfile.open(tmp_path / "sourcedir.tar.gz", "w:gz") as archive:
        archive.add(source / "mine.py", "mine.py")
    for number, place in enumerate((source, tmp_path / "sourcedir.tar.gz")):
        folder = tmp_path / f"code-{number}"
        UserScript("mine.py", str(place), folder).provide()
        assert (folder / "mine.py").read_text() == "1"


@pytest.mark.parametrize(
    ("program", "source", "sentence"),
    [
        ("mine.py", "", "sagemaker_program='mine.py' is not in .*, which has only other.py; name a file of the source"),
        ("../code/other.py", "", "sagemaker_program='../code/other.py' cannot be used: "),
        ("-c", "", "sagemaker_program='-c' cannot be used: "),
        ("a b.py", "", "sagemaker_program='a b.py' cannot be used: "),
        ("mine.py", "nowhere", "sagemaker_submit_directory='nowhere' cannot be fetched .FileNotFoundError: .*; give a"),
    ],
)
def test_a_script_that_cannot_be_run_is_one_sentence(tmp_path: Path, program: str, source: str, sentence: str) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    if not source:
        (folder / "other.py").write_text("")
    with pytest.raises(SettingsError, match=sentence) as caught:
        UserScript(program, source, folder).provide()
    assert "\n" not in str(caught.value)


def test_an_empty_source_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not in .*/code, which is empty; name a file of the source"):
        UserScript("mine.py", str(tmp_path / "code"), tmp_path / "code").provide()


def test_requirements_that_cannot_be_installed_are_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "mine.py").write_text("")
    (folder / "requirements.txt").write_text("./no-such-folder\n")
    with pytest.raises(
        SettingsError, match=r"the requirements of mine.py cannot be installed \(pip ended with exit code 1\); "
    ):
        UserScript("mine.py", str(folder), folder).provide()
