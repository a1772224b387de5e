"""What a host has read of a file, as bytes for the other hosts. Bytes of a stranger make no objects but these."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np

from text_classifier.reading.batch import Batch, Problem
from text_classifier.reading.fields import BadRow
from text_classifier.reading.piece import End
from text_classifier.reading.table import MISSING

#: Key of a JSON object that stands for what JSON does not have: no data has it.
_KIND = "\0kind"

_HEADER_BYTES = 8


def encode(item: Batch | End) -> bytes:
    """A batch, or the end of a piece that was read without an error. A label that JSON does not have (a date in
    Parquet) becomes its text."""
    if isinstance(item, End):  # without what only this host needs
        assert item.error is None
        item = End(item.unit, item.notes, records=item.records, lines=item.lines)
    values: dict[str, Any] = {}
    arrays: list[tuple[str, str, int]] = []  # name, dtype and bytes
    contents: list[bytes] = []
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, np.ndarray):
            contents.append(value.tobytes())
            arrays.append((field.name, value.dtype.str, len(contents[-1])))
        elif isinstance(value, bytes):
            contents.append(value)
            arrays.append((field.name, "", len(value)))
        else:
            values[field.name] = _tupled(value) if field.name in ("labels", "more") else value
    header = json.dumps({"kind": type(item).__name__, "values": values, "arrays": arrays}, default=_to_json).encode()
    return b"".join((len(header).to_bytes(_HEADER_BYTES, "little"), header, *contents))


def decode(message: bytes) -> Batch | End:
    """What `encode` was given."""
    content = memoryview(message)
    start = _HEADER_BYTES + int.from_bytes(content[:_HEADER_BYTES], "little")
    header = json.loads(bytes(content[_HEADER_BYTES:start]), object_hook=_from_json)
    values = header["values"]
    for name, dtype, size in header["arrays"]:
        part = content[start : start + size]
        values[name] = np.frombuffer(part, dtype) if dtype else bytes(part)
        start += size
    return Batch(**values) if header["kind"] == Batch.__name__ else End(**values)


def _tupled(values: list[Any]) -> list[Any]:
    """JSON has lists, and the values of several columns are a tuple."""
    return [{_KIND: "tuple", "values": list(value)} if isinstance(value, tuple) else value for value in values]


def _to_json(value: Any) -> Any:
    if value is MISSING:
        return {_KIND: "missing"}
    if isinstance(value, bytes):
        return {_KIND: "bytes", "text": value.decode()}
    if isinstance(value, BadRow):
        return {_KIND: "bad", "reason": str(value), "remedy": value.remedy}
    if isinstance(value, Problem):
        return {_KIND: "problem", "values": vars(value)}
    return str(value)


def _from_json(content: dict[str, Any]) -> Any:
    match content.get(_KIND):
        case None:
            return content
        case "missing":
            return MISSING
        case "bytes":
            return content["text"].encode()
        case "bad":
            return BadRow(content["reason"], content["remedy"])
        case "problem":
            return Problem(**content["values"])
        case _:
            return tuple(content["values"])
