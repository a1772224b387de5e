"""Files and folders that this user may not read."""

from __future__ import annotations

from pathlib import Path

import pytest

import check
from support.users import closed
from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading.permissions import stat_of

ROWS = b"text\tlabel\n" + b"good\ta\nbad\tb\n" * 20


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    (folder / "more").mkdir(parents=True)
    (folder / "a.tsv").write_bytes(ROWS)
    (folder / "more" / "b.tsv").write_bytes(ROWS)
    read_data({"train": folder}, parse({}))
    return folder


@pytest.mark.parametrize(
    ("name", "mode", "named"),
    [
        ("a.tsv", 0, "train/a.tsv"),
        ("more/b.tsv", 0, "train/more/b.tsv"),
        ("more", 0, "train/more"),
        ("more", 0o444, "train/more"),  # its files can be listed, and not be opened
        (".", 0, "train"),
    ],
)
def test_what_may_not_be_read_is_named_with_the_user(
    channel: Path, name: str, mode: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closed(channel / name, mode) as user:
        with pytest.raises(DataError) as refused:
            read_data({"train": channel}, parse({}))
        assert check.main([str(channel)]) == 1
    assert str(refused.value) == f"{named} cannot be read (Permission denied); make it readable for user {user}"
    assert capsys.readouterr().err == f"Your data: {refused.value}\n"


def test_a_path_below_a_closed_folder_is_not_taken_for_missing(
    channel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = channel / "a.tsv"
    with closed(channel) as user:
        assert check.main([str(path)]) == 1
    assert capsys.readouterr().err == (
        f"Your data: {path} cannot be read (Permission denied); make it readable for user {user}\n"
    )
    assert stat_of(channel.with_name("none")) is stat_of(channel.with_name("x" * 300)) is None
