"""Logits to bodies, compared with transformers' pipeline."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from support.served import CLASSES, outputs_of
from text_classifier.serving.requests import CSV, JSON, JSON_LINES, PLAIN, Request, RequestError, read_request
from text_classifier.serving.responses import (
    DEFAULT_FUNCTION,
    Outputs,
    render,
    require_answerable,
    response_type,
)
from text_classifier.serving.settings import ServeSettings

TASKS = {"single_label": 3, "multi_label": 3, "regression": 1}
TEXTS = ["good great awful", "bad", "fine lovely dull good good"]


def request(body: Any, type: str = JSON, **settings: Any) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(content, type, ServeSettings(**settings), ())


def answer(body: Any, logits: np.ndarray, outputs: Outputs | None = None, type: str = JSON) -> Any:
    return json.loads(render(request(body), logits, type, outputs or outputs_of()))


@pytest.fixture(scope="module", params=TASKS)
def classify(request: pytest.FixtureRequest, tiny_model: Any) -> tuple[Any, Outputs]:
    """transformers' pipeline for a task, and the same outputs as ours."""
    count = TASKS[request.param]
    outputs = outputs_of(request.param, CLASSES[:count])
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=count, id2label=dict(enumerate(outputs.classes)),
        problem_type=outputs.task.problem_type,
    )  # fmt: skip
    torch.nn.init.normal_(model.classifier.weight)
    return pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(tiny_model)), outputs


@pytest.mark.parametrize("function", [None, "softmax", "sigmoid", "none"])
@pytest.mark.parametrize("top_k", [{}, {"top_k": None}, {"top_k": 1}, {"top_k": 2}, {"top_k": 9}], ids=str)
@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS, TEXTS[:1], {"text": TEXTS[0]}, [{"text": TEXTS[1]}]], ids=str)
def test_shapes_and_scores_are_those_of_the_pipeline(
    classify: tuple[Any, Outputs], inputs: Any, top_k: dict[str, Any], function: str | None
) -> None:
    theirs, outputs = classify
    parameters = top_k | ({"function_to_apply": function} if function else {})
    expected = theirs(inputs, **parameters)
    texts = [
        each["text"] if isinstance(each, dict) else each for each in (inputs if isinstance(inputs, list) else [inputs])
    ]
    each = theirs(texts, top_k=None, function_to_apply="none")
    logits = np.array([[{e["label"]: e["score"] for e in row}[name] for name in outputs.classes] for row in each])
    ours = answer({"inputs": inputs, "parameters": parameters}, logits.astype(np.float32), outputs)
    assert _rounded(ours) == _rounded(expected)


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return {"label": value["label"], "score": pytest.approx(value["score"], abs=1e-5)}


def test_the_functions_are_defined_for_every_task() -> None:
    assert set(DEFAULT_FUNCTION) == {outputs_of(task).task.problem_type for task in TASKS}


def test_calibrated_scores_are_those_of_the_divided_logits() -> None:
    logits = np.array([[1.0, 2.0, 4.0]], dtype=np.float32)
    (found,) = answer({"inputs": "a", "parameters": {"calibrated": True}}, logits)
    exact = np.exp(logits[0].astype(np.float64) / 2.0)
    exact /= exact.sum()
    assert found == {"label": "positive", "score": pytest.approx(exact[2], rel=1e-8)}


def test_lines_have_the_values_of_the_json_answer() -> None:
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    body = {"inputs": ["a", "b"], "parameters": {"top_k": 2}}
    lines = render(request(body), logits, JSON_LINES, outputs_of()).decode().split("\n")
    assert [json.loads(line) for line in lines] == answer(body, logits)


def test_csv_has_the_columns_of_predict_and_a_header_for_a_header() -> None:
    logits = np.zeros((2, 3), dtype=np.float32)
    with_header = render(request(b'text\n"a, b"\nc\n', CSV), logits, CSV, outputs_of()).decode()
    header, *rows = csv.reader(io.StringIO(with_header))
    assert header == ["predicted", "probability_negative", "probability_neutral", "probability_positive"]
    assert rows == [["negative", "0.333333", "0.333333", "0.333333"]] * 2
    assert render(request(b"a\nb\n", PLAIN), logits, CSV, outputs_of()).decode() == with_header.partition("\n")[2]
    assert not with_header.endswith("\n")


def test_a_marked_record_is_an_error_in_its_place() -> None:
    read = request(b'"a"\n5\n', JSON_LINES, marks_bad_records=True)
    logits = np.zeros((2, 3), dtype=np.float32)
    good, bad = render(read, logits, JSON_LINES, outputs_of()).decode().split("\n")
    assert json.loads(good)["label"] == "negative"
    assert json.loads(bad) == {"error": "record 2 is neither a text nor an object"}
    assert render(read, logits, CSV, outputs_of()).decode().split("\n")[1] == "ERROR"


@pytest.mark.parametrize(
    ("accept", "sent", "type"),
    [
        (None, JSON, JSON),
        ("*/*", CSV, CSV),
        (None, PLAIN, JSON_LINES),
        ("text/html, application/xml;q=0.9, */*;q=0.8", CSV, CSV),
        ("application/x-jsonlines", JSON, JSON_LINES),
        ("application/*", CSV, JSON),
    ],
)
def test_the_type_of_the_answer_is_the_first_that_there_is(accept: str | None, sent: str, type: str) -> None:
    assert response_type(accept, sent) == type


@pytest.mark.parametrize("accept", ["image/png", "text/plain", ";", "é"])
def test_no_type_that_there_is(accept: str) -> None:
    with pytest.raises(RequestError, match="no type in Accept") as error:
        response_type(accept, JSON)
    assert error.value.status == 406


def test_what_the_model_or_the_type_does_not_have_is_refused() -> None:
    calibrated = request({"inputs": "a", "parameters": {"calibrated": True}})
    require_answerable(calibrated, JSON, outputs_of())
    with pytest.raises(RequestError, match="the model has no temperature"):
        require_answerable(calibrated, JSON, outputs_of(temperature=None))
    require_answerable(request({"inputs": "a"}, top_k=2, has_top_k=True), CSV, outputs_of())
    with pytest.raises(RequestError, match="text/csv has fixed columns"):
        require_answerable(request({"inputs": "a", "parameters": {"top_k": 1}}), CSV, outputs_of())


def test_logits_that_are_no_numbers_are_no_answer() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        render(request("a"), np.array([[np.nan, 1, 2]], dtype=np.float32), JSON, outputs_of())


def test_a_spreadsheet_runs_no_class_of_a_csv_response() -> None:
    outputs = outputs_of(classes=("=1+1", "a\r=1+1"))
    for logits, predicted in (([1.0, 0.0], "'=1+1"), ([0.0, 1.0], "a\r=1+1")):
        body = render(request(b"text\na\n", CSV), np.array([logits], dtype=np.float32), CSV, outputs).decode()
        header, row = csv.reader(io.StringIO(body, newline=""))
        assert header == ["predicted", "probability_=1+1", "probability_a\r=1+1"]
        assert row[0] == predicted and len(row) == 3
