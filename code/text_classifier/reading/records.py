"""The records of a file with separated fields, and where those that are not valid CSV stand."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from text_classifier.reading import dialect as dialects
from text_classifier.reading.dialect import Dialect
from text_classifier.reading.header import Record
from text_classifier.reading.table import Block, NotCsv, OpenFile
from text_classifier.reading.text_lines import LONGEST_LINE, decoded

_CSV_REASONS = {
    "unexpected end of data": "a quote opened here is never closed",
    "field larger than field limit": "a quote opened here is not closed within 10,000,000 characters",
    "expected after": "a quote is closed in the middle of a field",
    "new-line character seen": "an unquoted field contains a carriage return",
}


#: Bytes of the chunks in which blocks are read, at least.
_CHUNK_BYTES = 1 << 16


class Records:
    """The records of a file, each with its number and that of its first line; an empty line is an empty record.

    A record that is not valid CSV is reported, and reading resumes at its second line, so that an unclosed quote spoils
    no other row. Raises DataError when it is the header.

    Its iterator reads record by record; that of `or_blocks` gives whole blocks where it can. One goes on where the
    other has stopped.
    """

    def __init__(self, file: OpenFile, blocks: Iterator[bytes], dialect: Dialect) -> None:
        self.dialect = dialect
        self._file = file
        self._blocks = _cut(blocks)
        self._replay = _Replay(self._more_lines)
        self._records = self._in_order()
        self._clean: Callable[[bytes, int, int], Block | None] = lambda block, number, line: None
        self._number = self._line = 1

    def __iter__(self) -> Iterator[Record]:
        return self._records  # type: ignore[return-value]

    def __next__(self) -> Record:
        return next(self._records)  # type: ignore[return-value]

    def or_blocks(self, clean: Callable[[bytes, int, int], Block | None]) -> Iterator[Record | Block]:
        """The records that are left, in blocks where `clean`, given a block and its first number and line, makes one"""
        self._clean = clean
        return self._records

    def _in_order(self) -> Iterator[Record | Block]:
        for raw in self._blocks:
            if block := self._clean(raw, self._number, self._line):
                self._number += len(block)
                self._line += len(block)
                yield block
            else:
                self._replay.extend(self._lines(raw))
                yield from self._quoted() if self.dialect.is_quoted else self._unquoted()
            self._file.records, self._file.lines = self._number - 1, self._line - 1

    def _lines(self, raw: bytes) -> Iterable[str]:
        return dialects.quotes(decoded(raw), self.dialect)

    def _more_lines(self) -> Iterable[str]:
        """The lines of the next block; none at the end."""
        raw = next(self._blocks, None)
        return () if raw is None else self._lines(raw)

    def _unquoted(self) -> Iterator[Record]:
        for line in self._replay.rest():
            line = line.removesuffix("\r")
            self._number += 1
            self._line += 1
            yield self._number - 1, self._line - 1, line.split(self.dialect.delimiter) if line else []

    def _quoted(self) -> Iterator[Record]:
        """The records that start in the current block."""
        while True:
            try:
                for fields in csv.reader(self._replay, strict=True, delimiter=self.dialect.delimiter):
                    number, line = self._number, self._line
                    self._number += 1
                    self._line += self._replay.end_record()
                    if line > 1 or not self.dialect.has_sep_line or not self._file.part.is_first:  # it is no header
                        yield number, line, fields
                return
            except csv.Error as error:
                if _is_cut(error) and self._file.part.end is not None:
                    self._file.is_cut = True
                    self._replay.clear()
                    return
                reason = next((text for key, text in _CSV_REASONS.items() if key in str(error)), str(error))
                remedy = "quote such fields and double the quotes in them"
                if self._line == 1 and self._file.part.is_first:
                    raise NotCsv(f"{self._file.name} line 1, the header, is not CSV ({reason}); {remedy}") from None
                number, line = self._number, self._line
                self._number += 1
                self._line += 1
                self._replay.rewind(error)
                self._file.bad(number, line, f"is not CSV ({reason})", remedy)


def _cut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks in chunks of whole lines that stay in a CPU's cache, and of which an odd line spoils but one."""
    for block in blocks:
        start = 0
        while (end := block.find(b"\n", start + _CHUNK_BYTES)) >= 0:
            yield block[start:end]
            start = end + 1
        yield block[start:]


def _is_cut(error: csv.Error) -> bool:
    """Whether the lines end within a record."""
    return str(error).startswith("unexpected end of data")


class _Replay:
    """Lines for csv.reader that can be rewound to the second line of the current record.

    They end where a record ends with a block of lines; within a record `more` gives the lines of the next block.
    """

    def __init__(self, more: Callable[[], Iterable[str]]) -> None:
        self._more = more
        self._waiting: deque[str] = deque()
        self._record: list[str] = []
        self._characters = 0
        self._doomed = 0  # a record that starts in one of this many lines, and goes on in the next, raises `_error`
        self._error = csv.Error()

    def __iter__(self) -> _Replay:
        return self

    def __next__(self) -> str:
        if self._record and self._doomed:
            raise self._error
        if not self._waiting and self._record:
            self._waiting.extend(self._more())
        if not self._waiting:
            raise StopIteration
        line = self._waiting.popleft() + "\n"
        self._record.append(line)
        self._characters += len(line)
        if self._characters > LONGEST_LINE:
            raise csv.Error("field larger than field limit")
        return line

    def extend(self, lines: Iterable[str]) -> None:
        """Add the lines of a block."""
        self._waiting.extend(lines)

    def rest(self) -> Iterator[str]:
        """Take the lines without records."""
        while self._waiting:
            yield self._waiting.popleft()

    def clear(self) -> None:
        """Give up all lines."""
        self._waiting.clear()
        self.end_record()

    def end_record(self) -> int:
        """End the current record. Returns its number of lines."""
        count = len(self._record)
        self._record.clear()
        self._characters = 0
        self._doomed = max(0, self._doomed - count)
        return count

    def rewind(self, error: csv.Error) -> None:
        """Give up the current record, but of its lines only the first.

        A record that starts in one of the others, and goes on in the next, is within quotes there as this one was, and
        so fails where this one failed. It is not read to that point again: with a quote opened in each line, that would
        take time quadratic in the size of the file.
        """
        again = [line[:-1] for line in self._record[1:]]
        self.end_record()
        self._waiting.extendleft(reversed(again))
        if again:
            self._error = error
            self._doomed = len(again) - (not _is_cut(error))
