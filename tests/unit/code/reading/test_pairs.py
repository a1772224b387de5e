"""Pairs of texts from files: both texts of a row, its characters and hashes, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from support.labels import AnyLabels
from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.channel import read_rows, read_texts
from text_classifier.reading.columns import Columns
from text_classifier.reading.pairs import pair, readable, segments
from text_classifier.reading.rows import Rows
from text_classifier.reading.sources import source

COLUMNS = Columns(("premise",), "label", pairs=("hypothesis", "more"))
ROWS = [
    {"more": "a", "label": 1, "premise": "It rains.", "hypothesis": "It is wet."},
    {"more": "", "label": 0, "premise": "Grüße", "hypothesis": "An"},
    {"more": "b", "label": 0, "premise": "", "hypothesis": "c"},
]
TEXTS = [pair("It rains.", "It is wet. a"), pair("Grüße", "An"), pair("", "c b")]
CSV = "more,label,premise,hypothesis\n" + "".join(",".join(map(str, row.values())) + "\n" for row in ROWS)


def write(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")


def read(folder: Path, columns: Columns = COLUMNS) -> Rows:
    rows, _ = read_rows(source(folder), columns, AnyLabels(), BadRows(skips=False))
    return rows


@given(st.text(st.characters(exclude_characters="\0")), st.text(st.characters(exclude_characters="\0")))
def test_a_pair_has_its_two_texts(first: str, second: str) -> None:
    assert segments(pair(first, second)) == (first, second)


def test_a_pair_is_read_as_one_text_by_people() -> None:
    assert readable(pair("a", "b")) == "a | b"
    assert readable("a b") == "a b"


@pytest.mark.parametrize("format", ["csv", "quoted", "tsv", "jsonl", "json", "parquet"])
def test_every_format_has_pairs(format: str, tmp_path: Path) -> None:
    files = {
        "csv": CSV, "quoted": CSV.replace("It rains.", '"It rains."'), "tsv": CSV.replace(",", "\t"),
        "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS), "json": json.dumps(ROWS),
    }  # fmt: skip
    path = tmp_path / "a"
    if format == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path.write_text(files[format], encoding="utf-8")
    rows = read(tmp_path)
    assert rows.texts[:] == TEXTS
    assert rows.characters.tolist() == [21, 7, 3]
    assert [row.text for row in read_texts(path, COLUMNS)] == TEXTS


def test_a_group_a_slice_and_an_id_stand_beside_pairs(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "g,i,a,b,label\nx,7,one,two,1\ny,8,three,four,0\n")
    columns = Columns(("a",), "label", group="g", slice="g", id="i", pairs=("b",))
    rows = read(tmp_path, columns)
    assert rows.texts[:] == [pair("one", "two"), pair("three", "four")]
    assert rows.ids is not None and rows.ids[:] == ["7", "8"]
    assert rows.slice_values == ("x", "y")
    found = list(read_texts(tmp_path / "a.csv", columns))
    assert [(row.id, row.text) for row in found] == [("7", pair("one", "two")), ("8", pair("three", "four"))]


def test_a_pair_is_repeated_when_both_texts_are(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "premise,hypothesis,more,label\na b,c,,0\nA b,c,,0\na,b c,,1\na b,c,,1\n")
    rows = read(tmp_path)
    exact, near = rows.exact.tolist(), rows.near.tolist()
    assert exact[0] == exact[3] and len(set(exact)) == 3
    assert near[0] == near[1] == near[3] != near[2]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("premise,label\na,1\n", "a.csv has no column 'hypothesis,more'; set text_pair_columns to one of its columns"),
        ('{"premise": "a", "label": 1}\n', "a.csv has no column 'hypothesis,more'; set text_pair_columns to one of"),
        (
            '{"premise": "a", "hypothesis": "b", "more": "", "label": 1}\n{"premise": "a", "label": 1}\n',
            "a.csv line 2 has no field 'hypothesis'",
        ),
        (
            '{"premise": "a", "hypothesis": "b\\u0000", "more": "", "label": 1}\n',
            "a.csv line 1 has a NUL character in column 'hypothesis'",
        ),
        ("premise,hypothesis,more,label\n,,,1\n,,,0\n", "are empty; set text_columns to the columns of the text"),
        ("premise,hypothesis,more,label\n,a,,1\n,b,,0\n", "all first texts of .* are empty; set text_columns to the"),
        ("premise,hypothesis,more,label\na,,,1\nb,,,0\n", "all second texts of .* are empty; set text_pair_columns"),
    ],
)
def test_a_mistake_is_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    write(tmp_path, "a.csv", content)
    with pytest.raises(DataError, match=sentence):
        read(tmp_path)


def test_one_column_is_not_both_texts() -> None:
    with pytest.raises(SettingsError) as error:
        Columns(("a", "b"), pairs=("b",))
    assert str(error.value) == "column 'b' is in text_columns and in text_pair_columns; remove it from one of them"


def test_one_column_is_not_twice_in_the_second_text() -> None:
    with pytest.raises(SettingsError) as error:
        Columns(("a",), pairs=("b", "c", "b"))
    assert str(error.value) == "column 'b' is in text_pair_columns twice; remove it once"


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        (Columns(("a",), "b", pairs=("c", "b")), "text_pair_columns, or set label_column to another column"),
        (Columns(("a",), pairs=("label",)), "text_pair_columns, or set label_column to another column"),
        (Columns(("a", "b"), "b"), "text_columns, or set label_column to another column"),
        (Columns(("a",), labels=("b", "c"), pairs=("c",)), "text_pair_columns, or set label_columns to another column"),
    ],
)
def test_a_label_is_no_text(columns: Columns, remedy: str) -> None:
    with pytest.raises(DataError) as error:
        columns.choose("a.csv", ["a", "b", "c", "label"])
    label = "label" if columns.pairs == ("label",) else columns.label or "c"
    assert str(error.value) == (
        f"column {label!r} of a.csv is the label, which a text must not contain; remove it from {remedy}"
    )


def test_a_pair_needs_no_label_to_be_predicted(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "premise,hypothesis,more\na,b,\n")
    assert [row.text for row in read_texts(tmp_path / "a.csv", COLUMNS)] == [pair("a", "b")]
