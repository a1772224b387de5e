# ruff: noqa: E501 - the tables have one file a line
"""Which files of the channels are read, as which split, and what is said of the others."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from support.jobs import Job
from text_classifier.contract.data_files import is_data, split_name
from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data
from text_classifier.reading.sources import source, sources

Write = Callable[[str, str | bytes], Path]

TABLE = "text,label\n" + "".join(f"row {n},{n % 2}\n" for n in range(20))


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse(settings))


@pytest.mark.parametrize(
    "path",
    [
        "_SUCCESS", "_committed_123", "_started_123", "_temporary/0/part-00009.csv", ".part.csv.crc",
        "part.csv.crc", ".ipynb_checkpoints/train-checkpoint.csv", "__MACOSX/._train.csv", "0b8f.csv.metadata", "train_$folder$",
        "README.md", "readme", "data/README.txt", "LICENSE", "License.txt", "NOTICE", "Thumbs.db", "desktop.ini", ".DS_Store",
        "dataset_info.json", "train/state.json", "dataset_dict.json",
    ],
)  # fmt: skip
def test_what_the_writers_of_data_leave_beside_it_is_passed_over_and_said(channel: Write, path: str) -> None:
    channel(path, "x")
    read = data(channel("a.csv", TABLE))
    assert sum(len(rows) for rows in read.splits.values()) == 20
    assert read.report["notes"][0] == f"train has files without rows, which are skipped: {path}"


@pytest.mark.parametrize(
    "path", ["a.csv", "licenses.csv", "readme_scores.csv", "label=1/part-0.csv", "_day=1/part-0.csv"]
)
def test_other_names_are_data(path: str) -> None:
    assert is_data(path.split("/"))


def test_files_without_bytes_and_parts_without_rows_are_passed_over(channel: Write) -> None:
    channel("empty.csv", "")
    channel("part-1.csv", "text,label\n")
    channel("part-2.csv", "\n\n")
    read = data(channel("part-0.csv", TABLE))
    assert [note for note in read.report["notes"] if note.startswith("WARNING")] == [
        "WARNING: train has files without rows, which are skipped: empty.csv (empty)",
        "WARNING: train has files without rows: train/part-1.csv, train/part-2.csv",
    ]


def test_pipes_and_links_to_nothing_are_refused(channel: Write) -> None:
    folder = channel("a.csv", TABLE)
    os.mkfifo(folder / "b.csv")
    with pytest.raises(DataError, match="^train/b.csv is a pipe or a device; write its rows to a file$"):
        data(folder)
    (folder / "b.csv").rename(folder / "_b.csv")
    assert data(folder).report["notes"][0] == "train has files without rows, which are skipped: _b.csv"
    for target in ("nothing.csv", "c.csv"):  # the latter to itself
        (folder / "c.csv").symlink_to(target)
        with pytest.raises(
            DataError, match="^train/c.csv is a link to nothing; replace it with the file itself, or re"
        ):
            data(folder)
        (folder / "c.csv").unlink()


def test_a_channel_with_nothing_but_such_files_is_refused(channel: Write) -> None:
    with pytest.raises(DataError, match=r"^the channel 'train' has no files with rows, only README.md, _SUCCESS"):
        source(channel("_SUCCESS", "") and channel("README.md", "x"))
    with pytest.raises(DataError, match="^train/a.csv has no rows; add a header and at least one row$"):
        data(channel("a.csv", "text,label\n"))


def test_files_named_as_splits_are_these_splits(channel: Write) -> None:
    for name in ("train.csv", "validation.csv", "test.csv"):
        folder = channel(name, TABLE)
    read = data(folder)
    assert {name: len(rows) for name, rows in read.splits.items()} == {"train": 20, "validation": 20, "test": 20}
    assert read.splits["validation"].places[0] == "train/validation.csv line 2"
    assert read.report["notes"][0] == (
        "the files of the channel 'train' are named as splits: test.csv is the test split; train.csv is the train split; "
        "validation.csv is the validation split"
    )


def test_a_channel_of_its_own_comes_before_a_file_named_as_the_split(tmp_path: Path) -> None:
    job = Job(tmp_path)
    train = job.write("train", "data/train-00000-of-00001.csv", TABLE).parent.parent
    job.write("train", "data/test-00000-of-00001.csv", TABLE)
    own = job.write("test", "mine.csv", TABLE).parent
    read = read_data({"train": train, "test": own}, parse({}))
    assert read.splits["test"].places[0] == "test/mine.csv line 2"
    assert "data/test-00000-of-00001.csv is not used" in read.report["notes"][0]


def test_folders_named_as_splits_are_these_splits(channel: Write) -> None:
    channel("train/a.csv", TABLE)
    folder = channel("validation/a.csv", TABLE).parent
    assert {name: [file.name for file in found.files] for name, found in sources({"train": folder}).items()} == {
        "train": ["train/train/a.csv"], "validation": ["train/validation/a.csv"],
    }  # fmt: skip


def test_a_file_beside_the_splits_is_refused_with_the_way_out(channel: Write) -> None:
    channel("train.csv", TABLE)
    channel("more.csv", TABLE)
    with pytest.raises(
        DataError, match="^train/more.csv is in the same channel as train/train.csv and train/test.csv; move the rows"
    ):
        data(channel("test.csv", TABLE))


@pytest.mark.parametrize("name", ["trainers.csv", "tests.csv", "value.csv", "part-0.csv", "development.csv"])
def test_other_names_say_no_split(name: str) -> None:
    assert split_name([name]) is None


def test_the_names_of_partition_folders_are_columns(channel: Write) -> None:
    channel("label=positive/day=1/part-0.csv", "text\ngood\nfine\n")
    folder = channel("label=very%20bad/day=2/part-0.csv", "text,label\nbad,bad\npoor,bad\n").parents[1]
    read = data(folder, slice_column="day", train_size="0.5")
    assert read.classes == ("bad", "positive")  # a column of the file comes first
    assert read.splits["validation"].slice_values == ("1", "2")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_name_of_a_partition_folder_has_one_form(channel: Write, form: str) -> None:
    column = unicodedata.normalize(form, "Gef\u00fchl")
    for label in ("gut", "schlecht"):
        rows = "".join(f"{label} {n}\n" for n in range(4))
        folder = channel(f"{column}={label}/a.csv", "text\n" + rows).parent
    for other in ("NFC", "NFD"):
        found = data(folder, label_column=unicodedata.normalize(other, column))
        assert found.classes == ("gut", "schlecht")


def test_a_file_that_a_delta_log_removed_is_passed_over(channel: Write) -> None:
    channel(
        "table/_delta_log/00000000000000000000.json",
        '{"add": {"path": "a.csv"}}\n{"add": {"path": "day=1/b%20.csv"}}\n',
    )
    channel("table/_delta_log/00000000000000000001.json", '{"remove": {"path": "a.csv"}}\n')
    channel("table/a.csv", TABLE)
    folder = channel("table/day=1/b .csv", TABLE).parents[1]
    read = data(folder)
    assert sum(len(rows) for rows in read.splits.values()) == 20
    assert "table/a.csv (no longer part of the Delta table)" in read.report["notes"][0]


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("_delta_log/00000000000000000000.json", "cannot be read as a Delta log"),
        ("_delta_log/00000000000000000007.json", "does not begin with its first commit"),
        (".hoodie/hoodie.properties", "is a Hudi table"),
    ],
)
def test_a_table_whose_current_files_are_not_known_is_refused(channel: Write, log: str, sentence: str) -> None:
    channel(log, '{"add": 1}\n')
    with pytest.raises(DataError, match=sentence):
        data(channel("a.csv", TABLE))


def test_text_files_in_a_folder_for_each_class_are_rows(channel: Write) -> None:
    for number in range(3):
        channel(f"pos/{number}.txt", f"good, {number}\nand long\n")
        folder = channel(f"neg/{number}.txt", f"bad {number}").parent
    read = data(folder, train_size="0.5")
    assert read.classes == ("neg", "pos")
    assert sorted(text for rows in read.splits.values() for text in rows.texts) == [
        "bad 0", "bad 1", "bad 2", *(f"good, {number}\nand long" for number in range(3)),
    ]  # fmt: skip
    assert read.splits["train"].places[0].startswith("train/neg/")


@pytest.mark.parametrize("text", ["good film", "good, and\nlong, too\n", '"Good," he said.\n\nAnd more.'])
@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"text_columns": "body"}, "text_columns"),
        ({"text_columns": "a", "text_pair_columns": "b"}, "text_columns, text_pair_columns"),
        ({"label_column": "stars"}, "label_column"),
        ({"slice_column": "kind"}, "slice_column"),
        ({"id_column": "number"}, "id_column"),
    ],
    ids=str,
)
def test_columns_of_text_files_are_refused(channel: Write, text: str, settings: dict[str, str], given: str) -> None:
    for number in range(3):
        channel(f"pos/{number}.txt", text)
        folder = channel(f"neg/{number}.txt", text).parent
    with pytest.raises(DataError) as refused:
        data(folder, **settings)
    assert str(refused.value) == (
        f"train/neg/0.txt has no header with the columns of {given}; remove {given} if each file is a text and its "
        "folder the label, else add the header"
    )


def test_a_wrong_column_of_tables_in_folders_is_named(channel: Write) -> None:
    for content in (TABLE, '{"words": "a", "label": 1}\n'):
        channel("2019/part.txt", content)
        with pytest.raises(
            DataError, match="train/2019/part.txt has no column 'body'; set text_columns to one of its co"
        ):
            data(channel("2020/part.txt", content).parent, text_columns="body")


def test_text_files_with_the_label_in_the_name_of_the_folder_may_be_tables(channel: Write) -> None:
    for label in ("a", "b"):
        folder = channel(f"label={label}/part.txt", f"text\ngood {label}\nfine {label}\n").parent
    read = data(folder, train_size="0.5")
    assert read.classes == ("a", "b")
    assert {text[:4] for rows in read.splits.values() for text in rows.texts} == {"good", "fine"}


def test_tables_in_folders_are_no_texts(channel: Write) -> None:
    channel("2019/part.txt", TABLE)
    read = data(channel("2020/part.txt", TABLE).parent)
    assert read.classes == ("0", "1")


def sqlite() -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table reviews (text, label)")
        return database.serialize()


KINDS = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a Git LFS pointer, not the data; run `git lfs pull`"),
    (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>', "an XML or HTML page (it says AccessDenied), probably from a failed download; download"),
    (b"\n<!DOCTYPE html><html>", "an XML or HTML page, probably from a failed download; download the data again"),
    (sqlite(), "an SQLite database; write its rows as CSV"),
    (b"\x80\x04\x95\x05\x00\x00\x00", "a pickle, which can run code when it is read; write its rows"),
    (b"Obj\x01\x04\x14avro.codec", "an Avro file; write"),
    (b"ORC\x0a\x0b\x0a\x03\x00", "an ORC file; write"),
    (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "an Excel workbook or another Office document; save it as CSV"),
    (gzip.compress(b"PK\x03\x04" + bytes(99), mtime=0), "a zip archive; unpack"),
    (b"\x93NUMPY\x01\x00", "a NumPy array; write"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "sentence"), KINDS, ids=[sentence for _, sentence in KINDS])
def test_a_kind_that_is_not_read_is_named(channel: Write, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        data(channel("train.csv", content))
    assert str(refused.value).startswith(f"train/train.csv is {sentence}")


def test_a_column_may_begin_as_such_a_kind(channel: Write) -> None:
    rows = "".join(json.dumps(f"row {n}") + f",{n % 2}\n" for n in range(8))
    assert data(channel("a.csv", "ORC,label\n" + rows), text_columns="ORC").classes == ("0", "1")


def test_folders_in_one_another_have_a_bound(tmp_path: Path) -> None:
    channel = tmp_path / "train"
    deepest = channel
    for _ in range(64):
        deepest = deepest / "a"
    deepest.mkdir(parents=True)
    (deepest / "a.csv").write_text("text,label\ngood,1\n")
    assert [file.parts[-1] for file in source(channel).files] == ["a.csv"]
    for _ in range(300):
        deepest = deepest / "a"
    deepest.mkdir(parents=True)
    with pytest.raises(DataError, match="the channel 'train' has folders nested more than 64 deep; move the files"):
        source(channel)
