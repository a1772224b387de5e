"""Text files to numbered lines, CSV records and elements of a JSON array.

Text is decoded as UTF-8; other bytes become lone surrogates, which fields.py reports.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from text_classifier.contract.errors import DataError

#: Maximum length of a field, in characters: a longer one is most likely an unclosed quote.
LONGEST_FIELD = 10_000_000

#: Maximum length of a line in bytes, and of an element of a JSON array in characters: it is held in memory.
LONGEST_LINE = 4 * LONGEST_FIELD

_CSV_REASONS = {
    "unexpected end of data": "a quote opened here is never closed",
    "field larger than field limit": "a quote opened here is not closed within 10,000,000 characters",
    "expected after": "a quote is closed in the middle of a field",
    "new-line character seen": "an unquoted field contains a carriage return",
}


def lines(content: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines without their line feeds; the last line may lack one. Raises DataError for a line that is too long."""
    rest = b""
    lines_before = 0
    for block in content:
        end = block.rfind(b"\n")
        if end < 0:
            rest += block
        else:
            complete = (rest + block[:end]).decode("utf-8", "surrogateescape").split("\n")
            yield from complete
            lines_before += len(complete)
            rest = block[end + 1 :]
        if len(rest) > LONGEST_LINE:
            raise DataError(f"{name} line {lines_before + 1} is longer than {LONGEST_LINE:,} bytes; fix or remove it")
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


class _Replay:
    """Lines for csv.reader that can be rewound to the second line of the current record."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._rewound: deque[str] = deque()
        self._record: list[str] = []
        self._characters = 0

    def __iter__(self) -> _Replay:
        return self

    def __next__(self) -> str:
        line = self._rewound.popleft() if self._rewound else next(self._source) + "\n"
        self._record.append(line)
        self._characters += len(line)
        if self._characters > LONGEST_LINE:
            raise csv.Error("field larger than field limit")
        return line

    def end_record(self) -> int:
        """End the current record. Returns its number of lines."""
        count = len(self._record)
        self._record.clear()
        self._characters = 0
        return count

    def rewind(self) -> None:
        """Give up the current record, but of its lines only the first."""
        self._rewound.extendleft(reversed(self._record[1:]))
        self.end_record()


def csv_records(
    source: Iterator[str], name: str, bad: Callable[[int, str, str], None]
) -> Iterator[tuple[int, list[str]]]:
    """Records, each with the number of its first line; an empty line is an empty record.

    The separator is a semicolon if the first line has one and no comma. A record that is not valid CSV is passed to
    `bad` as number, reason and remedy, and reading resumes at its second line, so that an unclosed quote spoils no
    other row. Raises DataError when it is the first record.
    """
    csv.field_size_limit(LONGEST_FIELD)
    first = next(source, "")
    replay = _Replay(itertools.chain([first], source))
    delimiter = ";" if ";" in first and "," not in first else ","
    number = 1
    while True:
        try:
            for record in csv.reader(replay, strict=True, delimiter=delimiter):
                yield number, record
                number += replay.end_record()
            return
        except csv.Error as error:
            reason = next((text for key, text in _CSV_REASONS.items() if key in str(error)), str(error))
            remedy = "quote such fields and double the quotes in them"
            if number == 1:
                raise DataError(f"{name} line 1, the header, is not CSV ({reason}); {remedy}") from None
            bad(number, f"is not CSV ({reason})", remedy)
            replay.rewind()
            number += 1


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
