"""JSON values one by one, from a text that need not fit into memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from text_classifier.contract.errors import DataError
from text_classifier.reading.text_lines import LONGEST_LINE

_VISIBLE = re.compile(r"[^ \t\r\n]")

#: Characters of the longest token that a window may cut, other than a string: `-Infinity`, or an escape in a string.
_LONGEST_TOKEN = 16


class TooLong(Exception):
    """A value has more characters than are held in memory."""

    def __init__(self, longest: int) -> None:
        super().__init__(f"has a value of more than {longest:,} characters")


class JsonText:
    """A JSON text, of which a window is in memory."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._text_blocks = codecs.iterdecode(content, "utf-8", "surrogateescape")
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._position = self._before = 0  # in the window, and characters before it
        self.row = 0  #: the element that is read, of the array that is read

    def _grow(self) -> bool:
        """Double the window, so that reading a long element takes linear time. False at the end of the text."""
        more, missing = list[str](), len(self._text) - self._position
        for block in self._text_blocks:
            more.append(block)
            missing -= len(block)
            if missing < 0:
                break
        if more:
            self._before += self._position
            self._text = "".join((self._text[self._position :], *more))
            self._position = 0
        return bool(more)

    @property
    def offset(self) -> int:
        """Characters that are read."""
        return self._before + self._position

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            found = _VISIBLE.search(self._text, self._position)
            self._position = found.start() if found else len(self._text)
            if found or not self._grow():
                return found[0] if found else ""

    def expect(self, character: str) -> None:
        """Skip this character. Raises ValueError when another one comes next, EOFError at the end."""
        actual = self.peek()
        if not actual:
            raise EOFError
        if actual != character:
            raise ValueError(f"expecting {character!r}, found {actual!r}")
        self._position += 1

    def value(self, longest: int = LONGEST_LINE) -> Any:
        """The next value. Raises ValueError, RecursionError, EOFError when the text ends inside it, and TooLong."""
        if not self.peek():
            raise EOFError
        while True:
            try:
                value, end = self._decode(self._text, self._position)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _LONGEST_TOKEN
                if is_cut and len(self._text) - self._position > longest:
                    raise TooLong(longest) from None
                if not is_cut or not self._grow():
                    if error.pos >= len(self._text.rstrip()) or error.msg.startswith("Unterminated"):
                        raise EOFError from None
                    raise
            else:
                if end < len(self._text) or not self._grow():
                    self._position = end
                    return value

    def elements(self) -> Iterator[Any]:
        """The elements of the array that comes next. Raises as `value` and `expect` do."""
        self.expect("[")
        self.row = 0
        if self.peek() == "]":
            self.expect("]")
            return
        while True:
            self.row += 1
            yield self.value()
            if self.peek() == "]":
                break
            self.expect(",")
        self.expect("]")

    def names(self) -> Iterator[str]:
        """The names in the object that comes next; the value of each must be read before the next one."""
        self.expect("{")
        if self.peek() == "}":
            self.expect("}")
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise ValueError("expecting a property name")
            self.expect(":")
            yield name
            if self.peek() == "}":
                break
            self.expect(",")
        self.expect("}")

    @contextmanager
    def refusing(self, name: str) -> Iterator[None]:
        """Turn an error in the text of the file `name` into a DataError that names the row."""
        try:
            yield
        except EOFError:
            raise DataError(f"{name} is truncated in row {self.row}; upload it again") from None
        except TooLong as error:
            where = f"in row {self.row}" if self.row else "that is not a list of rows"
            raise DataError(f"{name} {error} {where}; fix it, or write one JSON object per line") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} row {self.row} is not JSON ({error}); fix the file") from None
