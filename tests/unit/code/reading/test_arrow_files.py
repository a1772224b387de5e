"""Parquet and Arrow files of Spark, pandas, Feather and Hugging Face's datasets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import feather, ipc, parquet

from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data

Write = Callable[[str, str | bytes], Path]

COLUMNS: dict[str, Any] = {"text": [f"row {n}" for n in range(2_500)], "label": ["a", "b"] * 1_250}


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse({"train_size": "0.5", **settings}))


def written(table: pyarrow.Table, form: str, **options: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    if form == "parquet":
        parquet.write_table(table, sink, **options)
    elif form == "feather":
        feather.write_feather(table, sink, **options)
    else:
        opened = ipc.new_stream(sink, table.schema) if form == "stream" else ipc.new_file(sink, table.schema)
        with opened as writer:
            writer.write_table(table, max_chunksize=700)
    return sink.getvalue().to_pybytes()


def of_datasets(features: dict[str, Any], columns: dict[str, Any]) -> pyarrow.Table:
    """A table with the schema's metadata that Hugging Face's datasets writes."""
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.table(columns).replace_schema_metadata(metadata)


FORMS = ("parquet", "feather", "stream", "file")


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_rows(channel: Write, form: str) -> None:
    content = written(pyarrow.table(COLUMNS), form)
    for name, compressed in (("a", content), ("a.gz", gzip.compress(content, mtime=0))):
        found = data(channel(f"{name}/part", compressed))
        rows = {(text, place) for of in found.splits.values() for text, place in zip(of.texts, of.places, strict=True)}
        assert rows == {(f"row {n}", f"{name}/part row {n + 1}") for n in range(2_500)}
        assert found.classes == ("a", "b")


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_is_refused(channel: Write, form: str) -> None:
    content = written(pyarrow.table(COLUMNS), form)
    for length in range(8, len(content), max(1, len(content) // 40)):
        with pytest.raises(DataError, match=r"cannot be read as (Parquet|Arrow)|is truncated"):
            data(channel("a.bin", content[:length]))


def test_structs_have_names_with_dots(channel: Write) -> None:
    reviews = [{"text": "x", "by": {"stars": 5}}, {"text": "y", "by": {"stars": 1}}, {"text": "z", "by": None}]
    table = pyarrow.table({"review": reviews, "review.text": ["own", "own", "own"], "label": [1, 2, 1]})
    for form in FORMS:
        folder = channel("a", written(table.select(["review", "label"]), form))
        assert set(data(folder, text_columns="review.text", max_data_rows="0").splits["train"].texts) <= {"x", "y", "z"}
        with pytest.raises(DataError, match="train/a row 3 has no value in column 'review.by.stars'"):
            data(folder, text_columns="review.text", label_column="review.by.stars")
        assert set(data(channel("a", written(table, form)), text_columns="review.text").splits["train"].texts) == {
            "own"
        }


@pytest.mark.parametrize("form", FORMS)
def test_the_class_names_of_datasets_are_the_labels(channel: Write, form: str) -> None:
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
    }
    table = of_datasets(features, {"text": ["a", "b", "c", "d", "e"], "label": [0, 1, 1, 0, -1]})
    folder = channel("part", written(table, form))
    with pytest.raises(DataError, match="train/part row 5 has no value in column 'label'"):
        data(folder)
    found = data(folder, unlabelled="drop")
    assert found.classes == ("neg", "pos")
    assert found.report["channels"]["train"]["unlabelled"] == 1


@pytest.mark.parametrize(
    "feature",
    [
        {"feature": {"names": ["toxic", "rude"], "_type": "ClassLabel"}, "_type": "List"},
        {"feature": {"names": ["toxic", "rude"], "_type": "ClassLabel"}, "length": -1, "_type": "Sequence"},
        [{"names": ["toxic", "rude"], "_type": "ClassLabel"}],
    ],
)
def test_lists_of_class_numbers_have_names_too(channel: Write, feature: Any) -> None:
    table = of_datasets({"label": feature}, {"text": ["a", "b", "c"], "label": [[0], [1], [0, 1]]})
    assert data(channel("part", written(table, "stream")), task="multi_label").classes == ("rude", "toxic")


def strings(values: list[bytes]) -> pyarrow.Array:
    """Strings that need not be UTF-8, as Parquet may have them."""
    return pyarrow.Array.from_buffers(pyarrow.string(), len(values), pyarrow.array(values).buffers())


def nested(values: pyarrow.Array, form: str) -> pyarrow.Array:
    if form == "struct":
        return pyarrow.StructArray.from_arrays([nested(values, "list")], ["choices"])
    if form == "fixed":
        return pyarrow.FixedSizeListArray.from_arrays(values, 1)
    ends = range(len(values) + 1)
    if form == "large":
        return pyarrow.LargeListArray.from_arrays(pyarrow.array(ends, pyarrow.int64()), values)
    if form == "dictionary":
        values = values.dictionary_encode()
    return pyarrow.ListArray.from_arrays(pyarrow.array(ends, pyarrow.int32()), values)


@pytest.mark.parametrize("form", ["list", "large", "fixed", "dictionary", "struct"])
def test_bytes_in_lists_are_texts_as_elsewhere(channel: Write, form: str) -> None:
    texts = [f"row {n}" for n in range(6)]
    for label in (pyarrow.array([b"a", b"b"] * 3), strings([b"a", b"b"] * 3)):
        table = pyarrow.table({"text": texts, "label": nested(label, form)})
        assert data(channel("part", written(table, "parquet"))).classes == ("a", "b")
    for label in (pyarrow.array([b"a", b"b", b"\xff"] * 2), strings([b"a", b"b", b"\xff"] * 2)):
        table = pyarrow.table({"text": texts, "label": nested(label, form)})
        with pytest.raises(DataError, match=r"^train/part row 3 is not UTF-8 in column 'label' \(byte 0xff\); set "):
            data(channel("part", written(table, "parquet")))


@pytest.mark.parametrize("form", FORMS)
def test_class_numbers_in_a_struct_have_names_too(channel: Write, form: str) -> None:
    stars = {"names": ["bad", "good"], "_type": "ClassLabel"}
    table = of_datasets(
        {"review": {"text": {"dtype": "string", "_type": "Value"}, "stars": stars}},
        {"review": [{"text": f"row {n}", "stars": n % 2} for n in range(4)]},
    )
    folder = channel("part", written(table, form))
    assert data(folder, text_columns="review.text", label_column="review.stars").classes == ("bad", "good")


@pytest.mark.parametrize("form", FORMS)
def test_partition_folders_are_columns(channel: Write, form: str) -> None:
    for label in ("good", "very%20bad"):
        for day in ("1", "2"):
            table = pyarrow.table({"text": [f"{label} {day} {n}" for n in range(4)], "n": [1, 2, 3, 4]})
            folder = channel(f"label={label}/day={day}/part-0", written(table, form)).parents[1]
    found = data(folder, slice_column="day", text_columns="day,text")
    assert found.classes == ("good", "very bad")
    assert found.splits["train"].slice_values == ("1", "2")
    for rows in found.splits.values():
        for text, place, target in zip(rows.texts, rows.places, rows.targets, strict=True):
            day, folder_name, second, number = text.split()
            assert (folder_name, second) == (("good", "very%20bad")[target], day)
            assert place == f"train/label={folder_name}/day={day}/part-0 row {int(number) + 1}"


@pytest.mark.parametrize("form", FORMS)
def test_a_part_without_rows_does_no_harm(channel: Write, form: str) -> None:
    table = pyarrow.table({"text": ["a", "b", "c", "d"], "label": [1, 2, 1, 2]})
    channel("part-1", written(table.slice(0, 0), form))
    assert data(channel("part-0", written(table, form))).classes == ("1", "2")


def test_a_parquet_part_without_rows_may_lack_the_columns(channel: Write) -> None:
    channel("part-0", written(pyarrow.table({}), "parquet"))
    folder = channel("part-1", written(pyarrow.table({"text": ["a", "b", "c", "d"], "label": [1, 2, 1, 2]}), "parquet"))
    assert data(folder).classes == ("1", "2")


def test_a_folder_of_save_to_disk_is_read_with_its_splits(channel: Write) -> None:
    channel("dataset_dict.json", '{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        channel(f"{split}/dataset_info.json", "{}")
        channel(f"{split}/state.json", "{}")
        folder = channel(f"{split}/data-00000-of-00001.arrow", written(pyarrow.table(COLUMNS), "stream")).parent
    assert {name: len(rows) for name, rows in data(folder).splits.items()} == {
        "train": 1_250, "validation": 1_250, "test": 2_500,
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_tokenized_dataset_is_named(channel: Write, form: str) -> None:
    table = pyarrow.table({"input_ids": [[1, 2], [3]], "attention_mask": [[1, 1], [1]], "label": [0, 1]})
    with pytest.raises(DataError, match=r"^train/part is tokenized already \(it has input_ids\); save the texts"):
        data(channel("part", written(table, form)))


def test_a_repeated_column_does_no_harm_unless_it_is_chosen(channel: Write) -> None:
    columns = [pyarrow.array(values) for values in (["a", "b", "c", "d"], [1, 2, 1, 2], [0] * 4, [0] * 4)]
    table = pyarrow.table(columns, names=["text", "label", "x", "x"])
    for form in ("parquet", "stream", "file"):
        assert data(channel("part", written(table, form))).classes == ("1", "2")
        with pytest.raises(DataError, match="train/part has two columns named 'x'"):
            data(channel("part", written(table, form)), label_column="x")
