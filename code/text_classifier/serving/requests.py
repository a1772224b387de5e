"""From the body of a request to its texts and parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from text_classifier.contract.errors import nearest, printable
from text_classifier.contract.parsing import SHORTEST_PAIR
from text_classifier.reading.fields import BadRow
from text_classifier.reading.pairs import SEPARATOR, pair
from text_classifier.serving import pair_records, records
from text_classifier.serving.records import BadRecord, Record
from text_classifier.serving.settings import ServeSettings

JSON, JSON_LINES, CSV, PLAIN = "application/json", "application/jsonlines", "text/csv", "text/plain"

#: Other names of the types.
ALIASES = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES, "text/json": JSON}

TYPES = (JSON, JSON_LINES, CSV, PLAIN)

#: How the right form is named in messages.
FORM = 'send {"inputs": "a text"} or {"inputs": ["a text", "another"]}'
PAIR_FORM = 'send {"inputs": {"text": "a text", "text_pair": "another"}} or a list of such objects'

#: The functions that turn logits into scores, as in transformers; `default` is that of the model's task.
FUNCTIONS = ("default", "softmax", "sigmoid", "none")

#: Parameters of transformers' pipelines that change no result here.
WITHOUT_EFFECT = ("padding", "batch_size")


class RequestError(Exception):
    """A request that is not answered with predictions: status code, and one sentence for the client."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Parameters:
    """What a request asks for."""

    top_k: int | None = 1  #: None: all classes
    is_listed: bool = False  #: whether top_k was given: a text's answer is then a list, as in transformers
    function: str = "default"  #: of FUNCTIONS
    truncation: bool = True  #: whether a text that is too long is truncated, or refused
    max_length: int | None = None  #: tokens; None: the model's
    calibrated: bool = False


@dataclass(frozen=True)
class Request:
    """The texts of a request. `bad` has the reason of each record that is answered by an error instead."""

    type: str  #: of TYPES
    texts: list[str]  #: as in reading/pairs.py if the model classifies pairs
    parameters: Parameters
    is_single: bool = False  #: a JSON request of one text, whose response is a single prediction, not a list
    is_mapping: bool = False  #: that of one {"text": ...}, which transformers answers without a list
    given: frozenset[str] = frozenset()  #: the parameters in the request itself
    has_header: bool = False  #: a CSV request whose first record names the columns
    bad: dict[int, str] = field(default_factory=dict)


def content_type(header: str | None) -> str:
    """The type in a Content-Type header; JSON without one. Raises RequestError."""
    name, _, options = (header or JSON).partition(";")
    name = name.strip().lower()
    found = ALIASES.get(name, name)
    if found not in TYPES:
        raise RequestError(415, f"the content type {printable(name)!r} is not supported; send {', '.join(TYPES)}")
    for option in options.split(";"):
        key, _, value = option.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            raise RequestError(415, f"the charset {printable(value.strip())!r} is not supported; send UTF-8")
    return found


def read_request(
    body: bytes, type: str, settings: ServeSettings, columns: Sequence[str], pair_columns: Sequence[str] = ()
) -> Request:
    """The request of a body. `columns` are the model's text columns, `pair_columns` those of the second text if it
    classifies pairs. Raises RequestError.

    When bad records are marked, each line is a record, also of CSV, and one that cannot be read is bad alone.
    """
    is_by_line = settings.marks_bad_records and type != JSON
    try:
        content = body.decode("utf-8-sig", "surrogateescape" if is_by_line else "strict")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the body is not UTF-8 (byte {error.start}); send UTF-8") from None
    defaults = Parameters(
        top_k=settings.top_k, is_listed=settings.has_top_k, calibrated=settings.calibrated
    )  # fmt: skip
    if type == JSON:
        return _json(content, defaults, is_pair=bool(pair_columns))
    found, has_header = _records(content, type, columns, pair_columns, is_by_line=is_by_line)
    texts: list[str] = []
    bad: dict[int, str] = {}
    for number, record in enumerate(found):
        try:
            text = record(columns)
            if is_by_line and not _is_encodable(text):
                raise BadRecord("is not UTF-8")
            texts.append(text)
        except (BadRow, BadRecord) as error:
            reason = f"record {number + 1} {printable(str(error))}"
            if not settings.marks_bad_records:
                raise RequestError(400, f"{reason}; correct it, or set SERVE_BAD_RECORDS=mark") from None
            texts.append("")
            bad[number] = reason
    return Request(type, texts, defaults, has_header=has_header, bad=bad)


def _records(
    content: str, type: str, columns: Sequence[str], pair_columns: Sequence[str], *, is_by_line: bool
) -> tuple[Iterator[Record], bool]:
    """The records of a body in lines, and whether it has a header. Raises RequestError."""
    if type == CSV:
        try:
            if pair_columns:
                return pair_records.of_csv(content, columns, pair_columns, is_by_line=is_by_line)
            return records.of_csv(content, columns, is_by_line=is_by_line)
        except ValueError as error:
            raise RequestError(400, f"the body is not CSV ({error}); quote fields as in RFC 4180") from None
    if type == JSON_LINES:
        found = pair_records.of_json_lines(content, pair_columns) if pair_columns else records.of_json_lines(content)
        return found, False
    if pair_columns:
        raise RequestError(400, f"{PLAIN} has single texts, and the model classifies pairs; send {JSON_LINES} or {CSV}")
    return records.of_plain_text(content), False


def _json(content: str, defaults: Parameters, *, is_pair: bool) -> Request:
    form = PAIR_FORM if is_pair else FORM
    body = _parsed(content, form)
    given: Any = None
    if isinstance(body, dict):
        if "inputs" not in body:
            names = f" but {', '.join(map(repr, map(printable, list(body)[:3])))}" if body else ""
            raise RequestError(400, f"the body has no 'inputs'{names}; {form}")
        unknown = [name for name in body if name not in ("inputs", "parameters", "options")]
        if unknown:
            hint = nearest(unknown[0], ("inputs", "parameters"))
            raise RequestError(400, f"the body has an unknown key {printable(unknown[0])!r}; {hint}")
        given, body = body.get("parameters"), body["inputs"]
    parameters, own = _parameters(given, defaults), frozenset(given or ())
    if is_pair and parameters.max_length is not None and parameters.max_length < SHORTEST_PAIR:
        raise RequestError(400, f"the parameter max_length is too small for a pair; send {SHORTEST_PAIR} or more")
    text_of = _pair if is_pair else _text
    if isinstance(body, list):
        texts = [text_of(each, f"inputs[{index}]") for index, each in enumerate(body)]
        return Request(JSON, texts, parameters, given=own)
    return Request(
        JSON, [text_of(body, "inputs")], parameters, is_single=True, is_mapping=isinstance(body, dict), given=own
    )  # fmt: skip


def _parsed(content: str, form: str) -> Any:
    try:
        return json.loads(content)
    except RecursionError:
        raise RequestError(400, f"the body is nested too deeply; {form}") from None
    except ValueError as error:
        raise RequestError(400, f"the body is not JSON ({printable(str(error))}); {form}") from None


def _text(value: Any, place: str) -> str:
    """A text of a JSON request: a string, or an object with the key `text`. Raises RequestError."""
    if isinstance(value, dict):
        if "text_pair" in value:
            raise RequestError(400, f"{place} is a pair of texts, and the model classifies single texts; {FORM}")
        if set(value) != {"text"}:
            raise RequestError(400, f"{place} is an object without 'text', or with other keys; {FORM}")
        value = value["text"]
    return _string(value, place, FORM)


def _string(value: Any, place: str, form: str) -> str:
    """A string of a JSON request. Raises RequestError, which says to send `form`."""
    if not isinstance(value, str):
        raise RequestError(400, f"{place} is not a text; {form}")
    if not _is_encodable(value):
        raise RequestError(400, f"{place} has an unpaired surrogate; send valid Unicode")
    return value


def _pair(value: Any, place: str) -> str:
    """A pair of a JSON request, an object as transformers takes it. Raises RequestError."""
    if not isinstance(value, dict) or set(value) != {"text", "text_pair"}:
        raise RequestError(400, f"{place} is not a pair of texts, and the model classifies pairs; {PAIR_FORM}")
    texts = [_string(value[name], f"{place}.{name}", PAIR_FORM) for name in ("text", "text_pair")]
    if SEPARATOR in "".join(texts):
        raise RequestError(400, f"{place} has a NUL character; remove it")
    return pair(*texts)


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parameters(given: Any, defaults: Parameters) -> Parameters:
    """The parameters of a JSON request. Raises RequestError."""
    if given is None:
        return defaults
    if not isinstance(given, dict):
        raise RequestError(400, 'parameters is not an object; send them as in {"top_k": 3}')
    values = {name: getattr(defaults, name) for name in Parameters.__dataclass_fields__}
    for name, value in given.items():
        if name in WITHOUT_EFFECT:
            continue
        if name not in _READERS:
            raise RequestError(400, f"the parameter {printable(name)!r} is unknown; {nearest(name, _READERS)}")
        try:
            values |= _READERS[name](value)
        except ValueError as error:
            raise RequestError(400, f"the parameter {name} is not {error}; correct or remove it") from None
    return Parameters(**values)


def _top_k(value: Any) -> dict[str, Any]:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return {"top_k": value, "is_listed": True}
    raise ValueError("a number of classes, or null for all")


def _all_scores(value: Any) -> dict[str, Any]:
    """`return_all_scores` of transformers 4, which 5 ignores."""
    return {"top_k": None, "is_listed": True} if _boolean(value) else {}


def _function(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, str) or value.lower() not in FUNCTIONS:
        raise ValueError(f"one of {', '.join(FUNCTIONS)}")
    return {"function": value.lower()}


def _truncation(value: Any) -> dict[str, Any]:
    """Any of transformers' strategies truncates."""
    return {"truncation": value is not False and value != "do_not_truncate"}


def _max_length(value: Any) -> dict[str, Any]:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 3):
        raise ValueError("a number of tokens, at least 3")
    return {"max_length": value}


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "top_k": _top_k,
    "return_all_scores": _all_scores,
    "function_to_apply": _function,
    "truncation": _truncation,
    "max_length": _max_length,
    "calibrated": lambda value: {"calibrated": _boolean(value)},
}
