"""CSV and TSV files.

CSV follows RFC 4180, with commas or semicolons. TSV has no quoting, as in the Amazon review files: a lone `"` is text.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterable, Iterator

from text_classifier.contract.errors import DataError
from text_classifier.reading.table import LONGEST_FIELD, OpenFile, Row
from text_classifier.reading.text_lines import LONGEST_LINE, lines

_CSV_REASONS = {
    "unexpected end of data": "a quote opened here is never closed",
    "field larger than field limit": "a quote opened here is not closed within 10,000,000 characters",
    "expected after": "a quote is closed in the middle of a field",
    "new-line character seen": "an unquoted field contains a carriage return",
}


def tsv_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a TSV file."""
    rows = (line.removesuffix("\r") for line in lines(file.content, file.name))
    return _fields(file, ((number, number, row.split("\t") if row else []) for number, row in enumerate(rows, start=1)))


def csv_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a CSV file."""
    return _fields(file, _records(lines(file.content, file.name), file))


def _fields(file: OpenFile, rows: Iterable[tuple[int, int, list[str]]]) -> Iterator[Row]:
    """Rows below a header row, with as many fields as it has. Empty lines are skipped."""
    rows = iter(rows)
    header = next((row for _, _, row in rows if row), None)
    if header is None:
        return
    first = next(((number, line, row) for number, line, row in rows if row), None)
    if first is None:
        return
    pick, width = file.picker(header, first[2]), len(header)
    for number, line, row in itertools.chain([first], rows):
        if len(row) == width:
            yield number, line, pick(row)
        elif row:
            fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
            file.bad(number, line, f"has {fields}, the header has {width}")


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


def _records(source: Iterator[str], file: OpenFile) -> Iterator[tuple[int, int, list[str]]]:
    """Records, each with its number and that of its first line; an empty line is an empty record.

    The separator is a semicolon if the first line has one and no comma. A record that is not valid CSV is reported, and
    reading resumes at its second line, so that an unclosed quote spoils no other row. Raises DataError when it is the
    first record.
    """
    csv.field_size_limit(LONGEST_FIELD)
    first = next(source, "")
    replay = _Replay(itertools.chain([first], source))
    delimiter = ";" if ";" in first and "," not in first else ","
    number = line = 1
    while True:
        try:
            for record in csv.reader(replay, strict=True, delimiter=delimiter):
                yield number, line, record
                number += 1
                line += replay.end_record()
            return
        except csv.Error as error:
            reason = next((text for key, text in _CSV_REASONS.items() if key in str(error)), str(error))
            remedy = "quote such fields and double the quotes in them"
            if line == 1:
                raise DataError(f"{file.name} line 1, the header, is not CSV ({reason}); {remedy}") from None
            file.bad(number, line, f"is not CSV ({reason})", remedy)
            replay.rewind()
            number += 1
            line += 1
