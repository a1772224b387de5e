"""What a host has read of a file, as bytes for the other hosts. Bytes of a stranger make no objects but these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from text_classifier.reading.batch import Batch, Problem
from text_classifier.reading.fields import BadRow
from text_classifier.reading.piece import End
from text_classifier.reading.table import MISSING

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
        elif field.name in _FORMS:
            to_json, _ = _FORMS[field.name]
            values[field.name] = list(map(to_json, value))
        else:
            values[field.name] = value
    header = json.dumps({"kind": type(item).__name__, "values": values, "arrays": arrays}, default=str).encode()
    return b"".join((len(header).to_bytes(_HEADER_BYTES, "little"), header, *contents))


def decode(message: bytes) -> Batch | End:
    """What `encode` was given."""
    content = memoryview(message)
    start = _HEADER_BYTES + int.from_bytes(content[:_HEADER_BYTES], "little")
    header = json.loads(bytes(content[_HEADER_BYTES:start]))
    values = header["values"]
    for name in _FORMS.keys() & values.keys():
        _, from_json = _FORMS[name]
        values[name] = list(map(from_json, values[name]))
    for name, dtype, size in header["arrays"]:
        part = content[start : start + size]
        values[name] = np.frombuffer(part, dtype) if dtype else bytes(part)
        start += size
    return Batch(**values) if header["kind"] == Batch.__name__ else End(**values)


def _label_to_json(label: Any) -> Any:
    """Objects stand for what JSON does not have, and therefore also for the objects of the data, which could be like
    these."""
    if label is MISSING:
        return {}
    if isinstance(label, tuple):
        return {"fields": list(map(_label_to_json, label))}
    return {"value": label} if isinstance(label, dict) else label


def _label_from_json(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    if "fields" in content:
        return tuple(map(_label_from_json, content["fields"]))
    return content.get("value", MISSING)


def _more_to_json(more: tuple[int, str, bytes] | BadRow) -> Any:
    if isinstance(more, BadRow):
        return {"reason": str(more), "remedy": more.remedy}
    group, value, id = more
    return group, value, id.decode()


def _more_from_json(content: Any) -> tuple[int, str, bytes] | BadRow:
    if isinstance(content, dict):
        return BadRow(content["reason"], content["remedy"])
    group, value, id = content
    return group, value, id.encode()


#: How each of the values of a list goes to JSON and back, by the field of a batch.
_FORMS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "labels": (_label_to_json, _label_from_json),
    "more": (_more_to_json, _more_from_json),
    "problems": (vars, lambda content: Problem(**content)),
}
