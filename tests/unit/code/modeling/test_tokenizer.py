from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.tokenizer import load_tokenizer


def test_the_tokenizer_is_that_of_the_models_folder(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "channel" / "deeper")
    words = load_tokenizer(tmp_path / "channel", "")("good bad")["input_ids"]
    assert words == load_tokenizer(tiny_model, "")("good bad")["input_ids"]


def test_a_tokenizer_that_cannot_be_read_is_one_sentence(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "channel")
    (tmp_path / "channel" / "tokenizer.json").write_text("{")
    with pytest.raises(SettingsError, match=r"the model in the channel 'model' cannot be loaded \(its tokenizer: "):
        load_tokenizer(tmp_path / "channel", "")
