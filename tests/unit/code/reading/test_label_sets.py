"""Labels in the forms that other tools write: lists, cells that spell lists, marks by position, a column per label."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data
from text_classifier.reading.fields import BadRow
from text_classifier.reading.label_cells import labels_in, only_label
from text_classifier.reading.label_map import normalize, parse_label_map

Write = Callable[[str, str | bytes], Path]


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse({"train_size": "0.5", **settings}))


def labels_by_text(found: Data) -> dict[str, list[str]]:
    """The labels of each text."""
    return {
        text: [name for name, is_there in zip(found.classes, target, strict=True) if is_there]
        for rows in found.splits.values()
        for text, target in zip(rows.texts, rows.targets, strict=True)
    }


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['a', 'b c']", ["a", "b c"]),
        ('["a"]', ["a"]),
        ("[]", []),
        ("['a' 'b']", ["a", "b"]),
        ("[0 1 1]", [0, 1, 1]),
        ("[0. 1. 1.]", [0, 1, 1]),
        ('{"choices": ["a", "b"]}', ["a", "b"]),
        ('[{"choices": ["a"]}, {"choices": ["b"]}]', ["a", "b"]),
        ("('a', 'b')", None),
        ("a", None),
        ("[INST] text", None),
        ("[a", None),
        ("[" * 21 + "]" * 21, None),
        ("[" * 2_000 + "]" * 2_000, None),
        ({"choices": ["a"]}, ["a"]),
        (["a", 1], ["a", 1]),
        (5, None),
    ],
)
def test_lists_in_cells(cell: Any, labels: list[Any] | None) -> None:
    assert labels_in(cell, "label") == labels


def test_probabilities_are_no_labels() -> None:
    with pytest.raises(BadRow, match=r"has a list with the number 0.2 in column 'label'"):
        labels_in("[0.2, 0.8]", "label")


def test_a_list_of_one_label_is_that_label() -> None:
    assert only_label(["a"], "label") == only_label("['a']", "label") == only_label("a", "label") == "a"
    with pytest.raises(BadRow, match="has 2 labels in column 'label'") as refused:
        only_label(["a", "b"], "label")
    assert refused.value.remedy.startswith("set task=multi_label")


@pytest.mark.parametrize("spelled", ["['{}']", '["{}"]', "[{}]", '{{"choices": ["{}"]}}'])
def test_cells_that_spell_lists_are_read(channel: Write, spelled: str) -> None:
    cells = [spelled.format(label) for label in ("7", "8")] * 3
    rows = "".join('row {},"{}"\n'.format(number, cell.replace('"', '""')) for number, cell in enumerate(cells))
    folder = channel("a.csv", "text,label\n" + rows)
    assert data(folder).classes == data(folder, task="multi_label").classes == ("7", "8")


ROWS = [("one", [1, 0, 1]), ("two", [0, 1, 0]), ("three", [1, 1, 1]), ("four", [0, 0, 1]), ("five", [0, 1, 1])]


def in_each_format(channel: Write, rows: list[tuple[str, list[Any]]]) -> dict[str, Path]:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"text": [t for t, _ in rows], "label": [v for _, v in rows]}), sink)
    return {
        name: channel(f"{name}/a", content) / "a"
        for name, content in {
            "json": "".join(json.dumps({"text": text, "label": value}) + "\n" for text, value in rows),
            "csv": "text,label\n" + "".join(f'{text},"{value}"\n' for text, value in rows),
            "parquet": sink.getvalue().to_pybytes(),
        }.items()
    }


def test_marks_by_position_are_refused_without_names_and_read_with_them(channel: Write) -> None:
    for name, file in in_each_format(channel, ROWS).items():
        with pytest.raises(
            DataError, match=r"a list of 3 numbers, all 0 or 1, .* name the positions with label_names="
        ):
            data(file, task="multi_label")
        found = data(file, task="multi_label", label_names="toxic, rude,spam")
        assert found.classes == ("toxic", "rude", "spam"), name
        assert labels_by_text(found)["one"] == ["toxic", "spam"]
    with pytest.raises(DataError, match=r"line 1 has no list of 2 numbers, each 0 or 1, in column 'label'"):
        data(
            channel("json/a", (channel("x", "x") / "json" / "a").read_bytes()) / "a",
            task="multi_label",
            label_names="a,b",
        )


def test_lists_of_label_numbers_are_labels(channel: Write) -> None:
    numbers = [("one", [1, 0]), ("two", [0, 3]), ("three", [1]), ("four", [3]), ("five", [0]), ("six", [1, 3])]
    for file in in_each_format(channel, numbers).values():
        found = data(file, task="multi_label")
        assert found.classes == ("0", "1", "3")
        assert labels_by_text(found)["two"] == ["0", "3"]


def test_empty_elements_are_no_labels_in_any_form(channel: Write) -> None:
    cells = ["a,", "['a', '']", '["", "b", " "]', ",a, ,b", "['']", ""]
    rows = "".join('row {},"{}"\n'.format(number, cell.replace('"', '""')) for number, cell in enumerate(cells))
    lists = [["a", ""], ["a", ""], ["", "b", " "], ["", "a", " ", "b"], [""], []]
    json_lines = "".join(json.dumps({"text": f"row {n}", "label": value}) + "\n" for n, value in enumerate(lists))
    for content in ("text,label\n" + rows, json_lines):
        found = labels_by_text(data(channel("a", content), task="multi_label"))
        assert [found[f"row {n}"] for n in range(6)] == [["a"], ["a"], ["b"], ["a", "b"], [], []]


def test_one_column_for_each_label(channel: Write) -> None:
    table = "text,toxic,rude\na,1,0\nb,TRUE,false\nc,1.0,\nd,0,1\ne,0,yes\nf,x,1\n"
    found = data(channel("a.csv", table), task="multi_label", label_columns="toxic,rude")
    assert found.classes == ("toxic", "rude")
    assert labels_by_text(found)["a"] == labels_by_text(found)["b"] == labels_by_text(found)["c"] == ["toxic"]
    assert labels_by_text(found)["f"] == ["toxic", "rude"]
    with pytest.raises(DataError, match=r"line 8 has '2' in the label column 'rude'; write 1 or 0"):
        data(channel("a.csv", table + "g,0,2\n"), task="multi_label", label_columns="toxic,rude")
    without = table + "g,-1,-1\nh,,\n"
    with pytest.raises(DataError, match="line 8 has no value in the columns toxic, rude"):
        data(channel("a.csv", without), task="multi_label", label_columns="toxic,rude")
    dropped = data(channel("a.csv", without), task="multi_label", label_columns="toxic,rude", unlabelled="drop")
    assert dropped.report["channels"]["train"]["unlabelled"] == 2


def test_a_single_column_may_mark_the_only_label(channel: Write) -> None:
    values = [True, 0, 1.0, "no", "x", "", None, -1]
    json_lines = "".join(json.dumps({"text": f"row {n}", "toxic": value}) + "\n" for n, value in enumerate(values))
    table = "text,toxic\n" + "".join(f"row {n},{'' if value is None else value}\n" for n, value in enumerate(values))
    for content in (json_lines, table):
        folder = channel("a", content)
        found = data(folder, task="multi_label", label_columns="toxic", unlabelled="drop")
        labels = labels_by_text(found)
        assert found.classes == ("toxic",)
        assert [labels.get(f"row {n}") for n in range(8)] == [
            ["toxic"], [], ["toxic"], [], ["toxic"], None, None, None,
        ]  # fmt: skip
        with pytest.raises(DataError, match="has no value in the columns toxic; fill them in or remove the row"):
            data(folder, task="multi_label", label_columns="toxic")


def test_rows_without_a_label_are_dropped_on_request(channel: Write) -> None:
    folder = channel("a.jsonl", "".join(json.dumps({"text": f"row {n}", "label": n % 2}) + "\n" for n in range(8)))
    channel("b.jsonl", '{"text": "x", "label": null}\n{"text": "y"}\n{"text": "z", "label": " "}\n')
    with pytest.raises(DataError, match="train/b.jsonl line 1 has no value in column 'label'"):
        data(folder)
    found = data(folder, unlabelled="drop")
    assert found.report["channels"]["train"] == {
        "rows": 8, "bad_rows": 0, "bad_row_examples": [], "unmapped_labels": 0, "unlabelled": 3,
    }  # fmt: skip
    (folder / "a.jsonl").unlink()
    with pytest.raises(DataError, match="^no row of train has a label; set label_column"):
        data(folder, unlabelled="drop")


@pytest.mark.parametrize(
    "same",
    [
        ("5", "+5", "5.", "5.0", ' "5" ', '="5"'),
        ("-1", "-1.0"),
        ("0", "-0", "+0.0"),
        ("true", "True", "TRUE"),
        ("caf\u00e9", "cafe\u0301", "caf\u00e9\u200b", "\ufeffcaf\u00e9"),
    ],
)
def test_spellings_of_one_label(same: tuple[str, ...]) -> None:
    assert {normalize(label) for label in same} == {same[0]}


def test_other_labels_keep_their_spelling() -> None:
    for label in ("01", "1.5", "+1.5", "1e3", "Yes", "'a'", '="', "None", "nan", "family: \U0001f468\u200d\U0001f469"):
        assert normalize(label) == label


def test_booleans_are_the_same_in_each_format(channel: Write) -> None:
    channel("a.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    channel("b.csv", "text,label\nc,True\nd,FALSE\n")
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"text": ["e", "f"], "label": [True, False]}), sink)
    assert data(channel("c.parquet", sink.getvalue().to_pybytes())).classes == ("false", "true")


def test_classes_that_differ_by_spelling_alone_are_noted(channel: Write) -> None:
    labels = ["Positive", "positive", "very  bad", "very bad", "01", "1", "1234567", "1234568"] * 2
    rows = "".join(f"row {number},{label}\n" for number, label in enumerate(labels))
    notes = data(channel("a.csv", "text,label\n" + rows)).report["notes"]
    assert [note for note in notes if "differ only" in note] == [
        "the classes '01' and '1' differ only in the spelling of a number; label_map merges them",
        "the classes 'Positive' and 'positive' differ only in case or spaces; label_map merges them",
        "the classes 'very  bad' and 'very bad' differ only in case or spaces; label_map merges them",
    ]


def test_a_line_of_totals_is_noted(channel: Write) -> None:
    rows = "".join(f"row {number},{'ab'[number % 2]}\n" for number in range(8))
    notes = data(channel("a.csv", f"text,label\n{rows}Total,8\n")).report["notes"]
    assert "the class '8' has one row and is a number, unlike the others: a line of totals?" in notes


def test_a_map_as_json_has_any_name() -> None:
    found = parse_label_map('{"Health, Wellness": "health", "R&D; Sales": "a=b", "1-3": "health", "4": "a=b"}')
    assert found is not None and found.classes == ("health", "a=b")
    assert [found.index(label) for label in ("Health, Wellness", "R&D; Sales", "2", "4.0")] == [0, 1, 0, 1]
    for text in ('{"a": ["b"]}', '{"a": "b"', '{"a": "b"}', '{"a": "", "b": "c"}'):
        with pytest.raises(SettingsError, match="label_map"):
            parse_label_map(text)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"label_columns": "a,b"}, "label_columns only applies to task=multi_label"),
        ({"label_names": "a,b", "task": "regression"}, "label_names only applies to task=multi_label"),
        ({"label_columns": "a,b", "label_column": "c", "task": "multi_label"}, "label_column and label_columns"),
        ({"label_columns": "a,b", "label_map": "1=a;2=b", "task": "multi_label"}, "label_map and label_columns"),
        ({"has_header": "false"}, "has_header=false needs the names of the columns"),
        ({"columns": "a,b"}, "columns names the columns of files without a header"),
        ({"num_train_epochs": "3"}, "unknown hyperparameter 'num_train_epochs'; it is called epochs here"),
        ({"per_device_train_batch_size": "3"}, "unknown hyperparameter 'per_device_train_batch_size'; it is"),
        ({"epochs": "3.5"}, "hyperparameter epochs='3.5' is not an integer"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(settings)
    assert str(refused.value).startswith(sentence)


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert parse({"epochs": "3.0"}).epochs == 3
