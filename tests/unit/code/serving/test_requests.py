"""Bodies to texts and parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_classifier.serving.requests import (
    CSV,
    JSON,
    JSON_LINES,
    PLAIN,
    TYPES,
    Parameters,
    Request,
    RequestError,
    content_type,
    read_request,
)
from text_classifier.serving.settings import ServeSettings

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("inputs", "parameters", "top_k", "return_all_scores", "function_to_apply", "truncation", "max_length", "text")
LIKELY = st.fixed_dictionaries(
    {"inputs": JSON_VALUES}, optional={"parameters": st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, max_size=4)}
)


def read(body: Any, type: str = JSON, settings: ServeSettings | None = None) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(content, type, settings or ServeSettings(), ())


def refused(body: Any, type: str = JSON) -> str:
    with pytest.raises(RequestError) as error:
        read(body, type)
    assert error.value.status == 400
    return str(error.value)


@pytest.mark.parametrize(
    ("header", "type"),
    [
        (None, JSON),
        ("application/json; charset=utf-8", JSON),
        ("Application/JSON", JSON),
        ("application/x-jsonlines", JSON_LINES),
        ('text/csv; header=present; charset="UTF-8"', CSV),
        ("text/plain", PLAIN),
    ],
)
def test_the_content_type_is_read(header: str | None, type: str) -> None:
    assert content_type(header) == type


@pytest.mark.parametrize("header", ["application/x-npy", "text/csv; charset=latin-1", "x" * 1000, "é"])
def test_another_content_type_is_refused(header: str) -> None:
    with pytest.raises(RequestError, match="is not supported; send") as error:
        content_type(header)
    assert error.value.status == 415


def test_the_forms_of_transformers_are_read() -> None:
    assert read({"inputs": "a"}) == Request(JSON, ["a"], Parameters(), is_single=True)
    assert read("a") == Request(JSON, ["a"], Parameters(), is_single=True)
    given = read({"inputs": ["a"], "parameters": {"truncation": True}})
    assert given == Request(JSON, ["a"], Parameters(), given=frozenset({"truncation"}))
    assert read({"inputs": ["a", {"text": "b"}]}) == Request(JSON, ["a", "b"], Parameters())
    assert read(["a"]) == Request(JSON, ["a"], Parameters())
    assert read({"inputs": {"text": "a"}}) == Request(JSON, ["a"], Parameters(), is_single=True, is_mapping=True)
    assert read({"inputs": []}).texts == []


def test_the_parameters_are_read() -> None:
    parameters = {
        "top_k": 2, "function_to_apply": "Sigmoid", "truncation": False, "max_length": 9, "calibrated": True,
        "padding": True, "batch_size": 8,
    }  # fmt: skip
    assert read({"inputs": "a", "parameters": parameters}).parameters == Parameters(2, True, "sigmoid", False, 9, True)
    for every in ({"top_k": None}, {"return_all_scores": True}):
        assert read({"inputs": "a", "parameters": every}).parameters == Parameters(None, True)
    assert read({"inputs": "a", "parameters": {"return_all_scores": False}}).parameters == Parameters()


def test_the_environment_has_the_defaults_of_the_parameters() -> None:
    settings = ServeSettings(top_k=None, has_top_k=True, calibrated=True)
    assert read(b"a\n", PLAIN, settings).parameters == Parameters(None, True, calibrated=True)
    assert read({"inputs": "a", "parameters": {"top_k": 1}}, settings=settings).parameters.top_k == 1


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"instances": ["a"]}, "the body has no 'inputs' but 'instances'; send {"),
        ({}, "the body has no 'inputs'; send {"),
        ({"inputs": "a", "parameter": {}}, "the body has an unknown key 'parameter'; did you mean parameters?"),
        ({"inputs": "a", "parameters": {"topk": 1}}, "the parameter 'topk' is unknown; did you mean top_k?"),
        ({"inputs": "a", "parameters": {"top_k": True}}, "the parameter top_k is not a number of classes"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "the parameter top_k is not a number of classes"),
        ({"inputs": "a", "parameters": {"max_length": 2}}, "the parameter max_length is not a number of tokens"),
        ({"inputs": "a", "parameters": {"function_to_apply": "tanh"}}, "the parameter function_to_apply is not one of"),
        ({"inputs": "a", "parameters": ["top_k"]}, "parameters is not an object"),
        ({"inputs": ["a", 5]}, "inputs[1] is not a text"),
        ({"inputs": {"text": "a", "text_pair": "b"}}, "inputs is a pair of texts"),
        ({"inputs": [["a", "b"]]}, "inputs[0] is not a text"),
        (5, "inputs is not a text"),
        (b'{"inputs": "a"', "the body is not JSON ("),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b"1" * 10_000, "the body is not JSON ("),
        (b'"\xff"', "the body is not UTF-8 (byte 1)"),
        (rb'"\ud800"', "inputs has an unpaired surrogate"),
        (b"", "the body is not JSON ("),
    ],
)
def test_a_mistake_is_one_sentence(body: Any, sentence: str) -> None:
    assert refused(body).startswith(sentence)


def test_a_bad_record_is_named_or_marked() -> None:
    body = b'"a"\n5\n"b"\n'
    assert refused(body, JSON_LINES) == (
        "record 2 is neither a text nor an object; correct it, or set SERVE_BAD_RECORDS=mark"
    )
    marked = read(body, JSON_LINES, ServeSettings(marks_bad_records=True))
    assert (marked.texts, marked.bad) == (["a", "", "b"], {1: "record 2 is neither a text nor an object"})


@pytest.mark.parametrize(
    ("type", "body", "bad"),
    [
        (CSV, b'"a"\n"b\nc "quoted" d\n\n\xff\n"e"\n', {1: "not CSV", 3: "an empty line", 4: "not UTF-8"}),
        (JSON_LINES, b'"a"\n{"inputs": \n{"inputs": "\xff"}\n[]\n"e"\n', {1: "not JSON", 2: "", 3: "neither a text"}),
        (PLAIN, b"a\n\xff\xfe\n\ne\n", {1: "not UTF-8"}),
    ],
)
def test_a_marked_record_spoils_no_other(type: str, body: bytes, bad: dict[int, str]) -> None:
    marked = read(body, type, ServeSettings(marks_bad_records=True))
    assert len(marked.texts) == body.count(b"\n")
    assert (marked.texts[0], marked.texts[-1], set(marked.bad)) == ("a", "e", set(bad))
    assert all(f"record {number + 1} " in marked.bad[number] and bad[number] in marked.bad[number] for number in bad)


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), min_size=1), st.sampled_from(TYPES[1:]))
def test_when_bad_records_are_marked_no_line_is_lost(lines: list[bytes], type: str) -> None:
    found = read(b"".join(line + b"\n" for line in lines), type, ServeSettings(marks_bad_records=True))
    assert len(found.texts) + found.has_header == len(lines)


def outcome(body: bytes, type: str) -> Request | RequestError:
    try:
        return read(body, type)
    except RequestError as error:
        return error


@given(
    st.binary(max_size=200) | (JSON_VALUES | LIKELY).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(TYPES),
)
def test_any_body_is_read_or_refused(body: bytes, type: str) -> None:
    found = outcome(body, type)
    if isinstance(found, RequestError):
        assert found.status == 400 and str(found).isprintable()
    else:
        assert all(isinstance(text, str) and text.encode() is not None for text in found.texts)
