"""Text files in a folder for each class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.jobs import Job
from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data

Write = Callable[[str, str | bytes], Path]


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse({"train_size": "0.5", **settings}))


@pytest.mark.parametrize("start", ["<html>", "\n<!DOCTYPE html>\n<html>", '<?xml version="1.0"?>\n<mail>', "<error>"])
def test_the_texts_may_be_web_pages(channel: Write, start: str) -> None:
    for number in range(2):
        channel(f"ham/{number}.txt", f"{start}\nham, {number}")
        folder = channel(f"spam/{number}.txt", f"{start}\nspam, {number}").parent
    texts = {text for rows in data(folder).splits.values() for text in rows.texts}
    assert texts == {f"{start.strip()}\n{kind}, {number}" for kind in ("ham", "spam") for number in range(2)}


def test_errors_of_s3_are_no_texts(channel: Write) -> None:
    channel("ham/0.txt", "good")
    error = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>x</Message></Error>'
    with pytest.raises(DataError) as refused:
        data(channel("spam/0.txt", error).parent)
    assert str(refused.value) == (
        "train/spam/0.txt is an XML or HTML page (it says NoSuchKey), probably from a failed download; download the "
        "data again"
    )


def test_pages_in_place_of_tables_are_refused(channel: Write) -> None:
    channel("2019/part.txt", "<html>\nlogin")
    with pytest.raises(DataError, match="train/2019/part.txt is an XML or HTML page, probably from a failed download"):
        data(channel("2020/part.txt", "<html>\nlogin").parent, text_columns="body")


def test_another_channel_may_have_texts_of_one_class(job: Job) -> None:
    for label in ("pos", "neg"):
        train = job.write("train", f"{label}/0.txt", f"{label} text, long\nand more").parents[1]
    test = job.write("test", "pos/1.txt", "a good film").parents[1]
    found = read_data({"train": train, "validation": train, "test": test}, parse({}))
    assert found.splits["test"].texts[:] == ["a good film"] and found.splits["test"].targets.tolist() == [1]
    job.write("test", "unknown/1.txt", "bad")
    with pytest.raises(DataError, match="^test/unknown/1.txt has the label 'unknown', which is not one of neg, pos"):
        read_data({"train": train, "validation": train, "test": test}, parse({}))


def test_another_channel_may_have_tables(job: Job) -> None:
    for label in ("pos", "neg"):
        train = job.write("train", f"{label}/0.txt", f"{label} text").parents[1]
    test = job.write("test", "all/a.txt", "text,label\na good film,pos\nbad,neg\n").parents[1]
    found = read_data({"train": train, "validation": train, "test": test}, parse({}))
    assert found.splits["test"].texts[:] == ["a good film", "bad"]


def test_texts_in_one_folder_beside_tables_are_no_rows(job: Job) -> None:
    train = job.write("train", "all/a.txt", "text,label\ngood,pos\nbad,neg\n").parents[1]
    test = job.write("test", "pos/1.txt", "a good film").parents[1]
    with pytest.raises(DataError, match="^test/pos/1.txt has no rows; add a header and at least one row$"):
        read_data({"train": train, "validation": train, "test": test}, parse({}))
