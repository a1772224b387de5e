"""From logits to the body of a response."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from text_classifier.contract.errors import printable
from text_classifier.evaluation import calibration
from text_classifier.results.answers import answers
from text_classifier.results.cells import row_writer
from text_classifier.serving.requests import ALIASES, CSV, JSON, JSON_LINES, PLAIN, Parameters, Request, RequestError
from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import probabilities

#: Significant digits of a score: those of a float32.
DIGITS = 9

#: The answer to a bad record in CSV.
BAD_RECORD = "ERROR"

#: The function of a task's scores by transformers' name of the task.
DEFAULT_FUNCTION = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "none",
}


@dataclass(frozen=True)
class Outputs:
    """What a model's logits mean."""

    task: Task
    classes: Sequence[str]
    temperature: float | None  #: divisor of the logits that calibrates the probabilities; None: not fitted


def response_type(accept: str | None, request_type: str) -> str:
    """The type of the answer: the first one in the Accept header that there is. Raises RequestError."""
    default = JSON_LINES if request_type == PLAIN else request_type
    ranges = {"*/*": default, "application/*": JSON, "text/*": CSV}
    wanted = [part.partition(";")[0].strip().lower() for part in (accept or "*/*").split(",")]
    for name in wanted:
        found = ranges.get(name, ALIASES.get(name, name))
        if found in (JSON, JSON_LINES, CSV):
            return found
    raise RequestError(
        406, f"no type in Accept ({printable(', '.join(wanted))}) is supported; accept {JSON}, {JSON_LINES} or {CSV}"
    )


def require_answerable(request: Request, type: str, outputs: Outputs) -> None:
    """Raise RequestError for parameters that the model or the type of the answer does not have."""
    if request.parameters.calibrated and outputs.temperature is None:
        raise RequestError(400, "the model has no temperature, so nothing can be calibrated; remove calibrated")
    if type == CSV and request.given & {"top_k", "return_all_scores", "function_to_apply"}:
        raise RequestError(400, f"{CSV} has fixed columns; remove top_k and function_to_apply, or accept {JSON}")


def render(request: Request, logits: np.ndarray, type: str, outputs: Outputs) -> bytes:
    """The body of the answer. logits float32 [texts, outputs].

    Raises ValueError for logits that are not numbers.
    """
    if not np.isfinite(logits).all():
        raise ValueError("the model's logits are not numbers")
    if type == CSV:
        return _csv(request, logits, outputs)
    each = _answers(request, logits, outputs)
    if type == JSON_LINES:
        return "\n".join(map(_dumped, each)).encode()
    return _dumped(_shaped(request, list(each))).encode()


def scores(logits: np.ndarray, parameters: Parameters, outputs: Outputs) -> np.ndarray:
    """The score of each class, float64 [texts, outputs]."""
    function = parameters.function
    if function == "default":
        function = DEFAULT_FUNCTION[outputs.task.problem_type]
    divided = logits / np.float64((outputs.temperature if parameters.calibrated else None) or 1.0)
    if function == "softmax":
        return np.exp(calibration.log_probabilities(divided))
    return probabilities(divided) if function == "sigmoid" else divided


def _answers(request: Request, logits: np.ndarray, outputs: Outputs) -> Iterator[Any]:
    """The JSON value of each text: the best class, or the list of the best ones if the request gave top_k."""
    parameters = request.parameters
    for number, row in enumerate(scores(logits, parameters, outputs)):
        if number in request.bad:
            yield {"error": request.bad[number]}
        elif parameters.is_listed:
            best = np.argsort(-row, kind="stable")[: parameters.top_k]
            yield [_entry(outputs.classes, row, index) for index in best]
        else:
            yield _entry(outputs.classes, row, row.argmax())


def _entry(classes: Sequence[str], row: np.ndarray, index: Any) -> dict[str, Any]:
    return {"label": classes[index], "score": float(format(row[index], f".{DIGITS}g"))}


def _shaped(request: Request, each: list[Any]) -> Any:
    """As transformers' pipeline: without top_k a text is answered by a list of one, and {"text": ...} by none."""
    if not request.is_single:
        return each
    return each if not request.parameters.is_listed and not request.is_mapping else each[0]


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _csv(request: Request, logits: np.ndarray, outputs: Outputs) -> bytes:
    """The columns of `predict`, without `row`."""
    shown = answers(outputs.task)
    file = io.StringIO()
    write_row = row_writer(file)
    if request.has_header:
        write_row(shown.header(outputs.classes, has_ids=False, has_labels=False)[1:])
    temperature = outputs.temperature if request.parameters.calibrated else None
    for number, cells in enumerate(shown.cells(logits, outputs.classes, temperature or 1.0)):
        write_row([BAD_RECORD] if number in request.bad else cells)
    return file.getvalue().removesuffix("\n").encode()
