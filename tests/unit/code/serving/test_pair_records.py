"""Requests to a model of pairs, in all content types."""

from __future__ import annotations

import json
from typing import Any

import pytest

from text_classifier.reading.pairs import pair
from text_classifier.serving.requests import CSV, JSON, JSON_LINES, PLAIN, Request, RequestError, read_request
from text_classifier.serving.settings import ServeSettings

COLUMNS, PAIR_COLUMNS = ("premise",), ("hypothesis", "more")
BOTH = {"text": "a", "text_pair": "b"}
AB, CD = pair("a", "b"), pair("c", "d")


def read(body: Any, type: str = JSON, settings: ServeSettings | None = None) -> Request:
    content = body if isinstance(body, bytes) else body.encode() if type != JSON else json.dumps(body).encode()
    return read_request(content, type, settings or ServeSettings(), COLUMNS, PAIR_COLUMNS)


def refused(body: Any, type: str = JSON) -> str:
    with pytest.raises(RequestError) as error:
        read(body, type)
    assert error.value.status == 400
    return str(error.value)


def test_a_pair_in_json_is_that_of_transformers() -> None:
    one = read({"inputs": BOTH})
    assert (one.texts, one.is_single, one.is_mapping) == ([AB], True, True)
    many = read({"inputs": [BOTH, {"text_pair": "d", "text": "c"}], "parameters": {"top_k": 2, "max_length": 6}})
    assert (many.texts, many.is_single) == ([AB, CD], False)
    assert read([BOTH]).texts == [AB]
    assert read({"inputs": []}).texts == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"inputs": "a"}, 'inputs is not a pair of texts, and the model classifies pairs; send {"inputs": {"text":'),
        ({"inputs": ["a"]}, "inputs[0] is not a pair of texts, and the model classifies pairs; send"),
        ({"inputs": {"text": "a"}}, "inputs is not a pair of texts"),
        ({"inputs": [["a", "b"]]}, "inputs[0] is not a pair of texts"),
        ({"inputs": BOTH | {"id": 1}}, "inputs is not a pair of texts"),
        ({"inputs": {"text": "a", "text_pair": None}}, 'inputs.text_pair is not a text; send {"inputs": {"text":'),
        ({"inputs": {"text": {"text": "a"}, "text_pair": "b"}}, 'inputs.text is not a text; send {"inputs": {"text":'),
        ({"inputs": [BOTH, {"text": "\ud800", "text_pair": ""}]}, "inputs[1].text has an unpaired surrogate"),
        ({"inputs": {"text": "a\0", "text_pair": "b"}}, "inputs has a NUL character; remove it"),
        (BOTH, "the body has no 'inputs' but 'text', 'text_pair'; send {\"inputs\": {\"text\": "),
        ({"inputs": BOTH, "parameters": {"max_length": 5}}, "the parameter max_length is too small for a pair; send 6"),
    ],
)
def test_a_mistake_in_json_is_one_sentence(body: Any, sentence: str) -> None:
    assert refused(body).startswith(sentence)


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000])
def test_the_form_of_pairs_is_named_where_a_body_is_not_json(body: bytes) -> None:
    assert refused(body).endswith(
        '; send {"inputs": {"text": "a text", "text_pair": "another"}} or a list of such objects'
    )


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a", "text_pair": "b", "id": 7}',
        '{"inputs": {"text": "a", "text_pair": "b"}}',
        '{"premise": "a", "hypothesis": "b", "more": ""}',
        '{"premise": "a", "hypothesis": null, "more": "b", "text": "x", "text_pair": "y"}',
    ],
)
def test_a_json_line_has_a_pair_in_one_of_these_forms(line: str) -> None:
    assert read(f"{line}\n{line}\n", JSON_LINES).texts == [AB, AB]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"a"', "is a single text or none, and the model classifies pairs"),
        ('{"text": "a"}', "has neither 'text' and 'text_pair' nor 'premise, hypothesis, more'"),
        ('{"text": "a", "text_pair": ["b"]}', "has a list in column 'text_pair'"),
        (r'{"text": "a\u0000", "text_pair": "b"}', "has a NUL character in column 'text'"),
        ("{", "is not JSON"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str) -> None:
    assert refused(line, JSON_LINES) == f"record 1 {reason}; correct it, or set SERVE_BAD_RECORDS=mark"
    marked = read(f'{line}\n{{"text": "a", "text_pair": "b"}}\n', JSON_LINES, ServeSettings(marks_bad_records=True))
    assert marked.texts == ["", AB] and marked.bad == {0: f"record 1 {reason}"}


@pytest.mark.parametrize(
    ("body", "has_header"),
    [
        ('a,b\n"c","d"\n', False),
        ("a,b,\nc,,d\n", False),
        ("text,text_pair\na,b\nc,d\n", True),
        ("text_pair,text\nb,a\nd,c\n", True),
        ("more,premise,hypothesis\nb,a,\n,c,d\n", True),
    ],
)
def test_csv_has_both_texts_of_a_record(body: str, has_header: bool) -> None:
    request = read(body, CSV)
    assert (request.texts, request.has_header) == ([AB, CD], has_header)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("a\n", "record 1 has 1 cell, and a pair of texts has 2 or 3"),
        ("a,b\nc,d,e,f\n", "record 2 has 4 cells, and a pair of texts has 2 or 3"),
        ("more,premise,hypothesis\na,b\n", "record 1 has 2 cells, and a pair of texts has 3"),
        ("a,b\n\n", "record 2 is an empty line"),
        ('"a"b,c\n', "the body is not CSV ("),
    ],
)
def test_csv_without_pairs_is_refused(body: str, sentence: str) -> None:
    assert refused(body, CSV).startswith(sentence)


def test_plain_text_has_no_pairs() -> None:
    assert refused("a b\n", PLAIN) == (
        "text/plain has single texts, and the model classifies pairs; send application/jsonlines or text/csv"
    )


@pytest.mark.parametrize(
    ("body", "type", "sentence"),
    [
        (
            b'{"text": "a", "text_pair": "b"}\n',
            JSON_LINES,
            "record 1 is a pair of texts, and the model classifies single",
        ),
        (b"text,text_pair\na,b\n", CSV, "record 1 is the header of pairs of texts, and the model classifies single"),
        (b'{"inputs": {"text": "a", "text_pair": "b"}}', JSON, "inputs is a pair of texts, and the model classifies"),
    ],
)
def test_a_model_of_single_texts_takes_no_pairs(body: bytes, type: str, sentence: str) -> None:
    with pytest.raises(RequestError) as error:
        read_request(body, type, ServeSettings(), ())
    assert error.value.status == 400 and str(error.value).startswith(sentence)


def test_a_model_of_a_column_called_text_pair_reads_it() -> None:
    body = b'{"text": "a", "text_pair": "b"}\n'
    assert read_request(body, JSON_LINES, ServeSettings(), ("text", "text_pair")).texts == ["a b"]
    assert read_request(b"text,text_pair\na,b\n", CSV, ServeSettings(), ("text", "text_pair")).texts == ["a b"]
