"""The records of a request in lines: JSON lines, CSV and plain text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from text_classifier.contract.errors import printable
from text_classifier.reading.columns import LAYOUTS
from text_classifier.reading.fields import joined, text
from text_classifier.reading.table import LONGEST_FIELD, MISSING


class BadRecord(Exception):
    """A record without a text, with the reason."""


#: Reads the text of a record, given the model's text columns. Raises BadRecord or BadRow.
Record = Callable[[Sequence[str]], str]


def lines(content: str) -> list[str]:
    """The lines; a line feed at the end starts no line."""
    found = content.split("\n")
    if not found[-1]:
        del found[-1]
    return [line.removesuffix("\r") for line in found]


def of_plain_text(content: str) -> Iterator[Record]:
    """Each line is a text."""
    return map(_plain_line, lines(content))


def of_json_lines(content: str) -> Iterator[Record]:
    """Each line is a text in JSON, or an object with one."""
    return map(_json_line, lines(content))


def _plain_line(line: str) -> Record:
    return lambda columns: line


def _json_line(line: str) -> Record:
    def read(columns: Sequence[str]) -> str:
        value = parsed(line)
        if isinstance(value, str):
            return text(value, "text")
        if not isinstance(value, dict):
            raise BadRecord("is neither a text nor an object")
        names = _names(value, columns)
        return joined([value.get(name, MISSING) for name in names], names)

    return read


def parsed(line: str) -> Any:
    """The JSON value of a line. Raises BadRecord."""
    if not line.strip():
        raise BadRecord("is an empty line")
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise BadRecord("is not JSON") from None


def _names(record: dict[str, Any], columns: Sequence[str]) -> Sequence[str]:
    """The keys that hold the text. Raises BadRecord or BadRow."""
    candidates = (("inputs",), *([tuple(columns)] if columns else []), ("text",), *(texts for texts, _ in LAYOUTS))
    for names in candidates:
        if all(name in record for name in names):
            if names != tuple(columns) and "text_pair" in record:
                raise BadRecord("is a pair of texts, and the model classifies single texts")
            return names
    expected = ", ".join(columns) or "text"
    raise BadRecord(f"has neither 'inputs' nor {printable(expected)!r}")


def of_csv(content: str, columns: Sequence[str], *, is_by_line: bool = False) -> tuple[Iterator[Record], bool]:
    """The records, and whether the first one named the columns and was left out.

    `is_by_line`: each line is a record, as for batch transform, and one that is not CSV is a bad record alone. Without
    it raises ValueError for a body that is not CSV.
    """
    records = csv_records(content, is_by_line=is_by_line)
    known = {"inputs", "text", *columns}
    first = (records[0] if records else None) or []
    has_header = bool(first) and all(cell.strip() in known for cell in first)
    if not has_header and sorted(cell.strip() for cell in first) == ["text", "text_pair"]:
        return iter([_header_of_pairs, *map(_csv_record, records[1:])]), False
    return map(_csv_record, records[1:] if has_header else records), has_header


def _header_of_pairs(columns: Sequence[str]) -> str:
    raise BadRecord("is the header of pairs of texts, and the model classifies single texts")


def csv_records(content: str, *, is_by_line: bool) -> Sequence[list[str] | None]:
    """The cells of each record, None for a line that is not CSV. Raises ValueError as `of_csv` does."""
    csv.field_size_limit(LONGEST_FIELD)
    if is_by_line:
        return [_cells(line) for line in lines(content)]
    try:
        return list(csv.reader(io.StringIO(content, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(error) from None


def _cells(line: str) -> list[str] | None:
    """The cells of a line; None if it is not CSV."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None


def _csv_record(cells: list[str] | None) -> Record:
    def read(columns: Sequence[str]) -> str:
        if cells is None:
            raise BadRecord("is not CSV")
        if not cells:
            raise BadRecord("is an empty line")
        return joined(cells, [str(number) for number in range(1, len(cells) + 1)])

    return read
