"""JSON in the forms that pandas, datasets, jq and labelling tools write."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.labels import AnyLabels
from text_classifier.contract.errors import DataError
from text_classifier.reading import json_files
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.channel import read_rows
from text_classifier.reading.columns import Columns
from text_classifier.reading.json_values import JsonText
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
    "by id": {f"review {number}": row for number, row in enumerate(ROWS)},
    "pandas with ids": {name: {f"id {n}": row[name] for n, row in enumerate(ROWS)} for name in ("text", "label")},
    "lists with objects": {
        "text": [row["text"] for row in ROWS],
        "label": [row["label"] for row in ROWS],
        "meta": [{"a": 1}] * 3,
    },
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


@pytest.mark.parametrize(
    "start", ['{"data": [', '{"data": [\n', '{"data":\n[\n', '{"version": 1, "tags": ["a"], "data": [']
)
@pytest.mark.parametrize("end", [",\n", ",\r\n", "\n,", ","])
def test_the_list_of_rows_may_have_a_row_per_line(channel: Write, start: str, end: str) -> None:
    content = start + end.join(json.dumps(row) for row in ROWS) + "\n]}"
    assert read(channel("a.json", content)) == (PAIRS, [f"train/a.json row {number}" for number in (1, 2, 3)])


@pytest.mark.parametrize(
    "first",
    [
        '{"text": "x" "label": 1}',
        '{"text": "x',
        '{"text": "x",',
        '{"labels": ["a", "b"',
        '{"text": "data: [", "label": }',
    ],
)
def test_a_damaged_first_line_is_a_bad_line(channel: Write, first: str) -> None:
    content = "\n".join([first, *map(json.dumps, ROWS)])
    with pytest.raises(DataError, match=r"train/a.json line 1 is not JSON \(.*write one JSON object per line$"):
        read(channel("a.json", content))


@pytest.mark.parametrize("length", [30, 5_000])
@pytest.mark.parametrize("gap", ["\n", "\n\n \n"])
def test_the_first_of_several_lines_may_be_long(
    channel: Write, gap: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("text_classifier.reading.content.BLOCK", 64)
    monkeypatch.setattr(json_files, "_LONGEST_PARSED", 1_000)
    rows = [{"text": "x" * length, "label": "a"}, *ROWS]
    pairs = [(row["text"], row["label"]) for row in rows]
    last = 3 + gap.count("\n")
    for start in ("", "\n"):
        content = start + gap.join([json.dumps(rows[0]), "\n".join(map(json.dumps, ROWS))])
        found, places = read(channel("a.json", content))
        assert found == pairs and places[-1] == f"train/a.json line {last + len(start)}"
    content = '{"data": [' + ",\n".join(map(json.dumps, rows)) + "]}"
    assert read(channel("a.json", content)) == (pairs, [f"train/a.json row {number}" for number in (1, 2, 3, 4)])
    assert read(channel("a.json", json.dumps(rows[0]) + "\n"))[0] == pairs[:1]


def test_the_second_line_is_looked_for_in_as_many_bytes_as_a_line_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "LONGEST_LINE", 200)
    taken, content = deque([b"{"]), iter([b"x" * 100] * 9)
    assert len(json_files.up_to_second_line(taken, content)) == 201 and len(taken) == 3 and len(list(content)) == 7


@pytest.mark.parametrize("rows", [ROWS, FORMS["lists"], BY_COLUMN, FORMS["pandas split"]])
def test_records_key_may_lead_to_any_form(channel: Write, rows: Any) -> None:
    for indent in (None, 1):
        content = json.dumps({"status": "ok", "result": {"count": 3, "rows": rows}}, indent=indent)
        assert read(channel("a.json", content), records_key="result.rows")[0] == PAIRS


def test_records_key_leaves_other_files_as_they_are(channel: Write) -> None:
    for content in (json.dumps(ROWS), "\n".join(map(json.dumps, ROWS))):
        assert read(channel("a.json", content), records_key="data")[0] == PAIRS


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_a_row_may_have_a_list_of_objects(channel: Write, count: int, indent: int | None) -> None:
    rows = [{**row, "entities": [{"start": 0, "name": "x"}]} for row in ROWS[:count]]
    tasks = [nested(row) for row in ROWS[:count]]
    for end in ("", "\n"):
        content = "\n".join(json.dumps(row, indent=indent) for row in rows) + end
        assert read(channel("a.json", content))[0] == PAIRS[:count]
        content = "\n".join(json.dumps(task, indent=indent) for task in tasks) + end
        found = read(channel("a.json", content), "data.text", "annotations.0.result.0.value.choices")
        assert found[0] == PAIRS[:count]


def test_a_part_without_rows_does_no_harm(channel: Write) -> None:
    channel("b.json", "[]")
    channel("c.json", '{"data": []}')
    assert read(channel("a.json", json.dumps(ROWS)))[0] == PAIRS


def test_names_with_dots_reach_into_objects_and_lists(channel: Write) -> None:
    path = "annotations.0.result.0.value.choices"
    for content in (json.dumps([nested(row) for row in ROWS]), "\n".join(json.dumps(nested(row)) for row in ROWS)):
        assert read(channel("a.json", content), "data.text", path)[0] == PAIRS
    flat = [{"a.b": "x", "a": {"b": "y"}, "label": "c"}]
    assert read(channel("a.json", json.dumps(flat)), "a.b")[0] == [("x", "c")]  # the name itself comes first
    with pytest.raises(DataError, match="train/a.json row 2 has no field 'data.text'"):
        read(channel("a.json", json.dumps([nested(ROWS[0]), {"annotations": []}])), "data.text", path)


def test_names_may_have_accents_in_either_form(channel: Write) -> None:
    content = '{"re\u0301sume\u0301": "x", "label": "a"}\n{"re\u0301sume\u0301": "y", "label": "b"}\n'
    assert read(channel("a.jsonl", content), "r\u00e9sum\u00e9")[0] == [("x", "a"), ("y", "b")]


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
    monkeypatch.setattr(JsonText.value, "__defaults__", (2_000,))
    monkeypatch.setattr("text_classifier.reading.content.BLOCK", 500)
    many = {"data": [{"text": f"row {number}", "label": "a"} for number in range(1_000)]}
    assert len(read(channel("a.json", json.dumps(many)))[0]) == 1_000
    many["data"][7]["text"] = "x" * 5_000
    with pytest.raises(
        DataError, match=r"^train/a.json has a value of more than 2,000 characters in row 8; fix it, or write one JSON"
    ):
        read(channel("a.json", json.dumps(many)))


@pytest.mark.parametrize("form", ["lists", "pandas", "pandas split"])
def test_columns_that_are_held_in_memory_have_a_limit(
    channel: Write, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps(FORMS[form])
    monkeypatch.setattr(json_files, "LONGEST_COLUMN", 200)
    assert read(channel("a.json", content))[0] == PAIRS
    monkeypatch.setattr(json_files, "LONGEST_COLUMN", 8)
    monkeypatch.setattr("text_classifier.reading.content.BLOCK", 7)
    with pytest.raises(DataError, match=r"has a value of more than 8 characters .*; fix it, or write one JSON object"):
        read(channel("a.json", content))


def test_a_syntax_error_is_named_without_reading_on(channel: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonText.value, "__defaults__", (100,))
    content = '[{"text": "x" "label": "a"}, ' + json.dumps({"text": "y" * 500, "label": "b"}) + "]"
    with pytest.raises(DataError, match=r"^train/a.json row 1 is not JSON \(Expecting ',' delimiter"):
        read(channel("a.json", content))
