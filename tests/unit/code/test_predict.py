from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import predict
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import MANIFEST


@pytest.mark.parametrize("text", ["1_0", "0", "-1", "1.5", "many", ""])
def test_a_batch_size_is_a_number_of_rows(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        predict.main(["--model=m", "--data=d", "--output=o", f"--batch-size={text}"])
    assert end.value.code == 2
    assert f"argument --batch-size: {text!r} is not a number of rows; give 1 or more" in capsys.readouterr().err


def written_manifest(folder: Path) -> Path:
    manifest = {"schema_version": 1, "classes": ["a", "b"], "temperature": None, "hyperparameters": asdict(Settings())}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("option", ["model", "data", "output"])
def test_a_name_that_is_too_long_is_one_sentence(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("text\ngood\n")
    paths = {"model": written_manifest(tmp_path), "data": tmp_path / "a.csv", "output": tmp_path / "out.csv"}
    paths[option] = tmp_path / ("x" * 300)
    assert predict.main([f"--{name}={path}" for name, path in paths.items()]) == 1
    assert re.fullmatch(rf"Your settings: --{option} [^\n]+; [^\n]+\n", capsys.readouterr().err)


def test_the_id_column_may_be_named_as_the_file_spells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        return ["text"], lambda texts: [[text] for text in texts]

    column = unicodedata.normalize("NFD", "num\u00e9ro")
    (tmp_path / "a.csv").write_text(f"text,{column}\ngood,4711\n")
    monkeypatch.setattr(predict, "_load", load)
    arguments = [f"--model={written_manifest(tmp_path)}", f"--data={tmp_path / 'a.csv'}", f"--id-column={column}"]
    assert predict.main([*arguments, f"--output={tmp_path / 'out.csv'}"]) == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == "a.csv line 2,4711,good"


def test_a_folder_as_output_is_refused_before_any_row_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([f"--model={written_manifest(tmp_path)}", "--data=none.csv", f"--output={tmp_path}"]) == 1
    assert capsys.readouterr().err == f"Your settings: --output {tmp_path} is a folder; give a file\n"


def test_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        return ["text"], lambda texts: [["x" * 10_000_000] for _ in texts]

    (tmp_path / "a.csv").write_text("text\ngood\n")
    (tmp_path / "out.csv.writing").symlink_to("/dev/full")
    monkeypatch.setattr(predict, "_load", load)
    written_manifest(tmp_path)
    assert (
        predict.main([f"--model={tmp_path}", f"--data={tmp_path / 'a.csv'}", f"--output={tmp_path / 'out.csv'}"]) == 1
    )
    assert capsys.readouterr().err.startswith("The platform: the disk is full")
