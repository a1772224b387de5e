"""The lines of a text file.

Text is decoded as UTF-8; other bytes become lone surrogates, which fields.py reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from text_classifier.contract.errors import DataError
from text_classifier.reading.table import LONGEST_FIELD

#: Maximum length of a line in bytes, and of an element of a JSON array in characters: it is held in memory.
LONGEST_LINE = 4 * LONGEST_FIELD

#: Ctrl-Z, with which DOS programs mark the end of a text file, and fill its last block.
_END_OF_FILE = b"\x1a"


class LineTooLong(DataError):
    """A line has more than LONGEST_LINE bytes. `line`: its number in the file, or in the part of it that is read."""

    def __init__(self, name: str, line: int) -> None:
        super().__init__(f"{name} line {line} is longer than {LONGEST_LINE:,} bytes; fix or remove it")
        self._name, self._line = name, line

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (self._name, self._line)

    def below(self, lines: int) -> LineTooLong:
        """The same of a part below so many lines."""
        return LineTooLong(self._name, self._line + lines)


def lines(content: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines without their line feeds; the last line may lack one. Raises LineTooLong."""
    for block in line_blocks(content, name):
        yield from decoded(block)


def decoded(block: bytes) -> list[str]:
    """The lines of a block of `line_blocks`."""
    return block.decode("utf-8", "surrogateescape").split("\n")


def line_blocks(content: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Blocks of whole lines, each without its last line feed. Raises LineTooLong."""
    rest = b""
    lines_before = 0
    for block in content:
        end = block.rfind(b"\n")
        if end < 0:
            rest += block
        else:
            complete = rest + block[:end]
            yield complete
            lines_before += complete.count(b"\n") + 1
            rest = block[end + 1 :]
        if len(rest) > LONGEST_LINE:
            raise LineTooLong(name, lines_before + 1)
    rest = rest.rstrip(_END_OF_FILE)
    if rest:
        yield rest
