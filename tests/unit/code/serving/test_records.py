"""Records of requests in lines."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_classifier.reading.fields import BadRow
from text_classifier.serving.records import BadRecord, of_csv, of_json_lines, of_plain_text

TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20))


def json_lines(content: str, columns: tuple[str, ...] = ()) -> list[str]:
    return [record(columns) for record in of_json_lines(content)]


@pytest.mark.parametrize(
    "line",
    [
        '"a b"',
        '{"inputs": "a b"}',
        '{"text": "a b", "id": 7, "SageMakerOutput": null}',
        '{"title": "a", "body": "b", "stars": 5}',
        '{"review_headline": "a", "review_body": "b"}',
    ],
)
def test_a_json_line_has_its_text_in_one_of_these_forms(line: str) -> None:
    assert json_lines(f"{line}\r\n{line}\n", ("title", "body")) == ["a b", "a b"]


def test_text_columns_are_joined_as_in_training() -> None:
    assert json_lines('{"title": null, "body": 5}\n{"title": "", "body": true}', ("title", "body")) == ["5", "true"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "is an empty line"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("5", "is neither a text nor an object"),
        ('{"review": "a"}', "has neither 'inputs' nor 'title, body'"),
        ('{"inputs": ["a"]}', "has a list in column 'inputs'"),
        (r'"\ud800"', "has an unpaired surrogate in column 'text'"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str) -> None:
    with pytest.raises((BadRecord, BadRow)) as error:
        json_lines(f"{line}\n", ("title", "body"))
    assert str(error.value) == reason


@given(TEXTS)
def test_as_many_texts_come_out_as_lines_go_in(texts: list[str]) -> None:
    assert [record(()) for record in of_plain_text("".join(f"{text}\n" for text in texts))] == texts
    assert json_lines("".join(f"{json.dumps(text)}\n" for text in texts)) == texts


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)))
def test_csv_records_may_have_any_text(texts: list[str]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["id"], *([text] for text in texts)])
    records, has_header = of_csv(file.getvalue(), ())
    assert not has_header
    assert [record(()) for record in records] == ["id", *texts]


def test_a_first_csv_record_of_column_names_is_a_header() -> None:
    records, has_header = of_csv('title,body\n"a, b",c\n', ("title", "body"))
    assert (has_header, [record(()) for record in records]) == (True, ["a, b c"])
    _, has_header = of_csv("text,b\n", ())
    assert not has_header


def test_csv_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        of_csv('"a"b\n', ())
    records, _ = of_csv("a\n\nb\n", ())
    with pytest.raises(BadRecord, match="is an empty line"):
        [record(()) for record in records]
