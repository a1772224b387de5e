"""Which files of a data folder are uploaded."""

from __future__ import annotations

import os
import re

import pytest

from launcher.plan.channels import Channel, files_of, needed_files

# isort: split
from support.users import closed
from text_classifier.contract.errors import UserError


def test_what_training_passes_over_is_not_uploaded(tmp_path):
    kept = ["day=1/part-0.csv", "part-1.parquet"]
    for name in [*kept, "_SUCCESS", ".part-0.csv.crc", "_temporary/0/part-9.csv", "README.md", "Thumbs.db"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text,label\n")
    (tmp_path / "train_$folder$").touch()
    (tmp_path / "empty.csv").touch()
    assert sorted(needed_files(tmp_path)) == kept
    assert sorted(files_of(tmp_path / "README.md")) == sorted(needed_files(tmp_path / "README.md")) == ["README.md"]
    before = Channel.from_files(needed_files(tmp_path)).content_hash
    (tmp_path / "_SUCCESS").unlink()
    assert Channel.from_files(needed_files(tmp_path)).content_hash == before


def test_what_would_be_missing_is_named(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.csv").write_text("text,label\n")
    sentence = (
        rf"the folder {re.escape(str(tmp_path))}/more cannot be read \(Permission denied\); change its permissions"
    )
    with closed(tmp_path / "more"), pytest.raises(UserError, match=sentence):
        needed_files(tmp_path)
    link = tmp_path / "b.csv"
    link.symlink_to("nothing.csv")
    with pytest.raises(UserError, match=rf"the link {re.escape(str(link))} points to nothing; replace it"):
        needed_files(tmp_path)
    link.rename(tmp_path / ".b.csv")
    os.mkfifo(tmp_path / "c.csv")
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path))}/c.csv is a pipe or a device; write its rows to"):
        needed_files(tmp_path)
    (tmp_path / "c.csv").rename(tmp_path / ".c.csv")
    assert list(needed_files(tmp_path)) == ["more/a.csv"]
