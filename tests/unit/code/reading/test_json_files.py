"""JSON in the forms that pandas, datasets, jq and labelling tools write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.labels import AnyLabels
from text_classifier.contract.errors import DataError
from text_classifier.reading import json_values
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.columns import Columns
from text_classifier.reading.rows import read_rows
from text_classifier.reading.sources import source
from text_classifier.reading.table import FileOptions

Write = Callable[[str, str | bytes], Path]

ROWS = [{"text": "one {", "label": "a"}, {"text": "two ]", "label": "b"}, {"text": "three, \u00e9", "label": "a"}]
PAIRS = [(row["text"], row["label"]) for row in ROWS]


def read(
    folder: Path, texts: str = "text", label: str = "label", records_key: str = ""
) -> tuple[list[tuple[str, str]], list[str]]:
    """Texts with labels, and places."""
    columns = Columns((texts,), label)
    rows, labels = read_rows(
        source(folder), columns, AnyLabels(), BadRows(skips=False), FileOptions(records_key=records_key)
    )
    return list(zip(rows.texts[:], (labels.classes[code] for code in rows.targets), strict=True)), rows.places[:]


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """A task of Label Studio's JSON export."""
    return {
        "id": 7,
        "data": {"text": row["text"]},
        "annotations": [{"result": [{"value": {"choices": [row["label"]]}, "type": "choices"}], "lead_time": 1.5}],
    }


BY_INDEX = {str(number): row for number, row in enumerate(ROWS)}
BY_COLUMN = {name: {str(number): row[name] for number, row in enumerate(ROWS)} for name in ("text", "label")}

FORMS: dict[str, Any] = {
    "array": ROWS,
    "lists": {name: [row[name] for row in ROWS] for name in ("label", "text")},
    "pandas": BY_COLUMN,
    "pandas index": BY_INDEX,
    "pandas split": {"columns": ["label", "text"], "index": [0, 1, 2], "data": [[r["label"], r["text"]] for r in ROWS]},
    "wrapper": {"version": 1, "data": ROWS, "tags": ["x"], "empty": []},
    "pandas table": {"schema": {"fields": [{"name": "text"}]}, "data": ROWS},
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_object(channel: Write, form: str, indent: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(FORMS[form], indent=indent, ensure_ascii=False)
    for end in ("", "\n"):
        rows, places = read(channel("a.json", "\ufeff" + content + end))
        assert rows == PAIRS
        assert places == [f"train/a.json row {number}" for number in (1, 2, 3)]
    monkeypatch.setattr("text_classifier.reading.content.BLOCK", 7)  # the window grows again and again
    assert read(channel("a.json", content))[0] == PAIRS


def test_objects_one_after_another(channel: Write) -> None:
    pretty = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    assert read(channel("a.json", pretty)) == (PAIRS, [f"train/a.json row {number}" for number in (1, 2, 3)])
    assert read(channel("a.json", json.dumps(ROWS[0], indent=2)))[0] == PAIRS[:1]
    assert read(channel("a.json", json.dumps(ROWS[0]))) == (PAIRS[:1], ["train/a.json line 1"])


def test_the_list_of_rows_can_be_named(channel: Write) -> None:
    two = {"train": ROWS[:2], "test": ROWS[2:], "more": {"deep": {"rows": ROWS}}}
    folder = channel("a.json", json.dumps(two))
    with pytest.raises(DataError, match=r"has lists of rows under 'train' and 'test'; set records_key to one"):
        read(folder)
    assert read(folder, records_key="test")[0] == PAIRS[2:]
    assert read(folder, records_key="more.deep.rows")[0] == PAIRS
    with pytest.raises(DataError, match=r"has no list under records_key='rows'; its keys are train, test, more"):
        read(folder, records_key="rows")


def test_names_with_dots_reach_into_objects_and_lists(channel: Write) -> None:
    path = "annotations.0.result.0.value.choices"
    for content in (json.dumps([nested(row) for row in ROWS]), "\n".join(json.dumps(nested(row)) for row in ROWS)):
        assert read(channel("a.json", content), "data.text", path)[0] == PAIRS
    flat = [{"a.b": "x", "a": {"b": "y"}, "label": "c"}]
    assert read(channel("a.json", json.dumps(flat)), "a.b")[0] == [("x", "c")]  # the name itself comes first
    with pytest.raises(DataError, match="train/a.json row 2 has no field 'data.text'"):
        read(channel("a.json", json.dumps([nested(ROWS[0]), {"annotations": []}])), "data.text", path)


def test_names_may_have_blanks_around_them(channel: Write) -> None:
    assert read(channel("a.jsonl", '{"text ": "x", " label": "a"}\n{"text ": "y", " label": "b"}\n'))[0] == [
        ("x", "a"), ("y", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"text": ["a", "b"], "label": ["c"]}', "train/a.json has columns of 1 to 2 values; fix the file"),
        ('{"columns": ["text", "label"], "data": [["a"]]}', "train/a.json has a row in 'data' without 2 values"),
        ('{"data": [{"text": "a", "label": 1}, {"text"', "train/a.json is truncated in row 2; upload it again"),
        ('{"data": [{"text": "a", "label": 1} {"text"', "train/a.json row 1 is not JSON (expecting ',', found '{')"),
        ('{"data": [{"text": "a", "label": 1}]} {}', "train/a.json has content after the JSON object; write one"),
        ('{\n"text": "a",\n"label": 1\n}\n{\n"text"', "train/a.json is truncated in row 2"),
        ('{\n1: 2}', "train/a.json row 0 is not JSON (expecting a property name)"),
        ("{}", "train/a.json has no column 'text'"),
    ],
)  # fmt: skip
def test_a_damaged_object_is_one_sentence(channel: Write, content: str, sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        read(channel("a.json", content))
    assert str(refused.value).startswith(sentence)


def test_a_list_of_rows_is_not_held_in_memory(channel: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "LONGEST_LINE", 2_000)
    many = {"data": [{"text": f"row {number}", "label": "a"} for number in range(1_000)]}
    assert len(read(channel("a.json", json.dumps(many)))[0]) == 1_000
