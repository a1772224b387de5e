"""Bytes of text files to lines, CSV records and elements of a JSON array, with the number of each.

Text is decoded as UTF-8; bytes that are not come through as lone surrogates, for the caller to find.
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

#: A field longer than this, in characters, is a quote that was never closed or no review.
LONGEST_FIELD = 10_000_000

#: In bytes, and for an element of a JSON array in characters: what is held in memory at once.
LONGEST_LINE = 4 * LONGEST_FIELD

_CSV_REASONS = {
    "unexpected end of data": "a quote that is opened here is never closed",
    "field larger than field limit": "a quote that is opened here is not closed for 10,000,000 characters",
    "expected after": "a quote is closed in the middle of a field",
    "new-line character seen": "a carriage return stands in a field without quotes",
}


def lines(content: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines without their line feed; the last one need not have any."""
    rest = b""
    lines_before = 0
    for block in content:
        end = block.rfind(b"\n")
        if end < 0:
            rest += block
        else:
            found = (rest + block[:end]).decode("utf-8", "surrogateescape").split("\n")
            yield from found
            lines_before += len(found)
            rest = block[end + 1 :]
        if len(rest) > LONGEST_LINE:
            raise DataError(f"{name} line {lines_before + 1} is longer than {LONGEST_LINE:,} bytes; mend or remove it")
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


class _Replay:
    """Lines for csv.reader, which can be read again from the second line of the record under way."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._characters = 0

    def __iter__(self) -> _Replay:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source) + "\n"
        self._record.append(line)
        self._characters += len(line)
        if self._characters > LONGEST_LINE:
            raise csv.Error("field larger than field limit")
        return line

    def end_record(self) -> int:
        """The number of lines of the record that was read."""
        count = len(self._record)
        self._record.clear()
        self._characters = 0
        return count

    def rewind(self) -> None:
        """Give up the record under way, and only its first line with it."""
        self._again.extendleft(reversed(self._record[1:]))
        self.end_record()


def csv_records(
    source: Iterator[str], name: str, bad: Callable[[int, str, str], None]
) -> Iterator[tuple[int, list[str]]]:
    """Records and the numbers of their first lines; an empty line is an empty record.

    The separator is the semicolon where the first line has one and no comma. A record that is not CSV is given to `bad`
    as number, reason and remedy, and reading goes on at its second line: an open quote takes no other row along. Raises
    DataError when it is the first record.
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
            reason = next((words for key, words in _CSV_REASONS.items() if key in str(error)), str(error))
            remedy = "quote such fields and double the quotes in them"
            if number == 1:
                raise DataError(f"{name} line 1, the header, is not CSV ({reason}); {remedy}") from None
            bad(number, f"is not CSV ({reason})", remedy)
            replay.rewind()
            number += 1


class _Window:
    """The part of a JSON text that is being read."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._text_blocks = codecs.iterdecode(content, "utf-8", "surrogateescape")
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._position = 0

    def _grow(self) -> bool:
        """Double the window, which makes the reading of a long element linear; False at the end of the text."""
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
        """The next character that is no white space; empty at the end."""
        while True:
            for position in range(self._position, len(self._text)):
                if self._text[position] not in " \t\r\n":
                    self._position = position
                    return self._text[position]
            self._position = len(self._text)
            if not self._grow():
                return ""

    def expect(self, character: str) -> None:
        """Go past it. Raises ValueError when something else comes next, EOFError when nothing does."""
        found = self.peek()
        if not found:
            raise EOFError
        if found != character:
            raise ValueError(f"expecting {character!r}, found {found!r}")
        self._position += 1

    def value(self) -> Any:
        """The next value. Raises ValueError or RecursionError, and EOFError when the text ends within it."""
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
    """The elements of one JSON array, numbered from 1. Raises DataError where the text is no JSON."""
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
        raise DataError(f"{name} is cut off in row {number}; upload it again") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} row {number} is not JSON ({error}); mend the file") from None
    if window.peek():
        raise DataError(f"{name} goes on behind its JSON array; leave one array in it, or write JSON lines")
