"""JSON lines, with one object per line, and JSON files with one array of objects."""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from text_classifier.contract.errors import DataError
from text_classifier.reading.table import MISSING, OpenFile, Row
from text_classifier.reading.text_lines import LONGEST_LINE, lines

#: The columns of a JSON file are the names in its first objects, this many: an object may lack a name without a value.
OBJECTS_FOR_COLUMNS = 1_000


def line_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a JSON lines file."""
    return _objects(file, _parsed_lines(file))


def array_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a JSON array."""
    file.unit = "row"
    return _objects(file, array_elements(file.content, file.name))


def _parsed_lines(file: OpenFile) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines(file.content, file.name), start=1):
        if line and not line.isspace():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                file.bad(number, number, f"is not JSON ({error})", "write one JSON object per line")


def _objects(file: OpenFile, values: Iterator[tuple[int, Any]]) -> Iterator[Row]:
    first = list(itertools.islice(values, OBJECTS_FOR_COLUMNS))
    columns = list(dict.fromkeys(name for _, value in first if isinstance(value, dict) for name in value))
    chosen = file.choose(columns, ()) if columns else ()
    for number, value in itertools.chain(first, values):
        if isinstance(value, dict):
            chosen = chosen or file.choose(list(value), ())
            yield number, number, [value.get(column, MISSING) for column in chosen]
        else:
            file.bad(number, number, "is not a JSON object", "write one JSON object per row")


class _Window:
    """The part of a JSON text that is in memory."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._text_blocks = codecs.iterdecode(content, "utf-8", "surrogateescape")
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._position = 0

    def _grow(self) -> bool:
        """Double the window, so that reading a long element takes linear time. False at the end of the text."""
        more = ""
        for block in self._text_blocks:
            more += block
            if len(more) > len(self._text) - self._position:
                break
        if more:
            self._text = self._text[self._position :] + more
            self._position = 0
        return bool(more)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            for position in range(self._position, len(self._text)):
                if self._text[position] not in " \t\r\n":
                    self._position = position
                    return self._text[position]
            self._position = len(self._text)
            if not self._grow():
                return ""

    def expect(self, character: str) -> None:
        """Skip this character. Raises ValueError when another one comes next, EOFError at the end."""
        actual = self.peek()
        if not actual:
            raise EOFError
        if actual != character:
            raise ValueError(f"expecting {character!r}, found {actual!r}")
        self._position += 1

    def value(self) -> Any:
        """The next value. Raises ValueError or RecursionError, and EOFError when the text ends inside it."""
        if not self.peek():
            raise EOFError
        while True:
            try:
                value, end = self._decode(self._text, self._position)
            except json.JSONDecodeError as error:
                is_too_long = len(self._text) - self._position > LONGEST_LINE
                if is_too_long or not self._grow():
                    if error.pos >= len(self._text.rstrip()) or error.msg.startswith("Unterminated"):
                        raise EOFError from None
                    raise
            else:
                if end < len(self._text) or not self._grow():
                    self._position = end
                    return value


def array_elements(content: Iterable[bytes], name: str) -> Iterator[tuple[int, Any]]:
    """The elements of one JSON array, numbered from 1. Raises DataError when the text is not valid JSON."""
    window = _Window(content)
    number = 0
    try:
        window.expect("[")
        while window.peek() != "]" or number:
            number += 1
            yield number, window.value()
            if window.peek() == "]":
                break
            window.expect(",")
        window.expect("]")
    except EOFError:
        raise DataError(f"{name} is truncated in row {number}; upload it again") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} row {number} is not JSON ({error}); fix the file") from None
    if window.peek():
        raise DataError(f"{name} has content after the JSON array; keep a single array, or write JSON lines")
