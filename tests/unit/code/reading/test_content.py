"""Files and folders that this user may not read. Damaged content: test_mutations.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import check
from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading.content import looked_at

SOMEBODY = 12345

ROWS = b"text\tlabel\n" + b"good\ta\nbad\tb\n" * 20


@contextmanager
def somebody() -> Iterator[None]:
    """This process is another user. What it imports later may be root's alone."""
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """A channel of root's that all users may read."""
    if os.geteuid() != 0:
        pytest.fail("only root can become another user: run this test as root, as the image does")
    for parent in (tmp_path, *tmp_path.parents):
        if parent == tmp_path or parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)  # pytest's folders are root's alone
    folder = tmp_path / "train"
    (folder / "more").mkdir(parents=True)
    (folder / "a.tsv").write_bytes(ROWS)
    (folder / "more" / "b.tsv").write_bytes(ROWS)
    read_data({"train": folder}, parse({}))
    return folder


@pytest.mark.parametrize(
    ("name", "mode", "named"),
    [
        ("a.tsv", 0o600, "train/a.tsv"),
        ("more/b.tsv", 0, "train/more/b.tsv"),
        ("more", 0o700, "train/more"),
        ("more", 0o744, "train/more"),  # its files can be listed, and not be opened
        (".", 0o700, "train"),
    ],
)
def test_what_may_not_be_read_is_named_with_the_user(
    channel: Path, name: str, mode: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (channel / name).chmod(mode)
    sentence = f"{named} cannot be read (Permission denied); make it readable for user {SOMEBODY}"
    with somebody():
        with pytest.raises(DataError) as refused:
            read_data({"train": channel}, parse({}))
        assert str(refused.value) == sentence
        assert check.main([str(channel)]) == 1
    assert capsys.readouterr().err == f"Your data: {sentence}\n"


def test_a_path_below_a_closed_folder_is_not_taken_for_missing(
    channel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channel.chmod(0o700)
    path = channel / "a.tsv"
    with somebody():
        assert check.main([str(path)]) == 1
    assert capsys.readouterr().err == (
        f"Your data: {path} cannot be read (Permission denied); make it readable for user {SOMEBODY}\n"
    )
    assert looked_at(channel.with_name("none")) is looked_at(channel.with_name("x" * 300)) is None
