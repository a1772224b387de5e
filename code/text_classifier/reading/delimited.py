"""Text files with separated fields: CSV in its dialects, TSV, and fastText's lines."""

from __future__ import annotations

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from text_classifier.contract.errors import DataError
from text_classifier.reading import dialect as dialects
from text_classifier.reading import header as headers
from text_classifier.reading.dialect import Dialect
from text_classifier.reading.header import Record
from text_classifier.reading.table import LONGEST_FIELD, NoHeader, OpenFile, Row, TooManyColumns
from text_classifier.reading.text_lines import LONGEST_LINE, lines

#: Lines and characters from which the dialect is detected.
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 1_000, 1 << 20

_CSV_REASONS = {
    "unexpected end of data": "a quote opened here is never closed",
    "field larger than field limit": "a quote opened here is not closed within 10,000,000 characters",
    "expected after": "a quote is closed in the middle of a field",
    "new-line character seen": "an unquoted field contains a carriage return",
}


#: How fastText marks labels.
_FASTTEXT = "__label__"

#: A first label of fastText's; in a CSV file a separator ends it.
_FASTTEXT_LABEL = re.compile(rb"__label__[^\s,;|]+\s")

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


def delimited_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a file with separated fields."""
    source = lines(file.content, file.name)
    sample = _sample(source)
    source = itertools.chain(sample, source)
    dialect = dialects.detect([line.removesuffix("\r") for line in sample], file.options.delimiter)
    if dialect.is_quoted:
        records = _records(dialects.quotes(source, dialect), dialect, file)
    else:
        records = _split(source, dialect.delimiter)
    if dialect.has_sep_line:  # the first line, which is no header
        records = itertools.dropwhile(lambda record: record[1] == 1, records)
    return _fields(file, records, dialect)


def _sample(source: Iterator[str]) -> list[str]:
    """The first lines."""
    sample, characters = [], 0
    for line in itertools.islice(source, _SAMPLE_LINES):
        sample.append(line)
        characters += len(line)
        if characters >= _SAMPLE_CHARACTERS:
            break
    return sample


def fasttext_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a file of fastText's or BlazingText's: labels in front of the text, each after `__label__`."""
    pick = file.picker(("label", "text"))
    for number, line in enumerate(lines(file.content, file.name), start=1):
        if line.strip():
            words = line.split()
            labels = list(itertools.takewhile(lambda word: word.startswith(_FASTTEXT), words))
            text = line.split(None, len(labels))[-1] if len(words) > len(labels) else ""
            yield number, number, pick(([label.removeprefix(_FASTTEXT) for label in labels], text.strip()))


def is_fasttext(head: bytes) -> bool:
    """Whether a file begins as fastText's files do."""
    return _FASTTEXT_LABEL.match(head) is not None


def _split(source: Iterable[str], delimiter: str) -> Iterator[Record]:
    """The records of a file without quotes: its lines."""
    for number, line in enumerate(source, start=1):
        line = line.removesuffix("\r")
        yield number, number, line.split(delimiter) if line else []


def _fields(file: OpenFile, records: Iterator[Record], dialect: Dialect) -> Iterator[Row]:
    """The chosen fields of the records below the header. Empty records, and those equal to the header, are no rows."""
    header: Sequence[str] = file.options.columns
    if file.options.has_header:
        header = next((fields for _, _, fields in records if fields), ())
    first = next((record for record in records if record[2]), None)
    if not header or first is None:
        return
    try:
        pick = file.picker(header, first[2])
    except (NoHeader, TooManyColumns):
        raise
    except DataError:
        if sentence := headers.problem(file, header, itertools.chain([first], records), dialect):
            raise DataError(sentence) from None
        raise
    width, repeated = len(header), 0
    starts = headers.spellings(header[0])
    longest = max(map(len, starts))
    for number, line, fields in itertools.chain([first], records):
        if len(fields) == width:
            start = fields[0]
            if (len(start) > longest or start not in starts) and start.strip():
                yield number, line, pick(fields)
            elif start in starts and headers.is_header(fields, header):
                repeated += 1
            elif any(map(str.strip, fields)) or fields == [""]:  # in a file with one column a blank line has no fields
                yield number, line, pick(fields)
        elif any(map(str.strip, fields)):
            file.bad(number, line, *_wrong_width(file, len(fields), width, dialect))
    if repeated:
        file.notes.append("lines that repeat the header are no rows")


def _wrong_width(file: OpenFile, found: int, width: int, dialect: Dialect) -> tuple[str, str]:
    """Reason and remedy for a row with another number of fields than the header."""
    fields = "1 field" if found == 1 else f"{found} fields"
    wanted = f"the header has {width}" if file.options.has_header else f"columns names {width}"
    separator = _NAMES.get(dialect.delimiter, f"{dialect.delimiter!r}")
    remedy = f"quote texts that hold a {separator}, or fix the row" if found > width else "fix or remove the row"
    return f"has {fields}, {wanted}", remedy if dialect.is_quoted else "fix or remove the row"


class _Replay:
    """Lines for csv.reader that can be rewound to the second line of the current record."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._rewound: deque[str] = deque()
        self._record: list[str] = []
        self._characters = 0
        self._doomed = 0  # a record that starts in one of this many lines, and goes on in the next, raises `_error`
        self._error = csv.Error()

    def __iter__(self) -> _Replay:
        return self

    def __next__(self) -> str:
        if self._record and self._doomed:
            raise self._error
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
        self._doomed = max(0, self._doomed - count)
        return count

    def rewind(self, error: csv.Error) -> None:
        """Give up the current record, but of its lines only the first.

        A record that starts in one of the others, and goes on in the next, is within quotes there as this one was, and
        so fails where this one failed. It is not read to that point again: with a quote opened in each line, that would
        take time quadratic in the size of the file.
        """
        again = self._record[1:]
        self.end_record()
        self._rewound.extendleft(reversed(again))
        if again:
            self._error = error
            self._doomed = len(again) - (not str(error).startswith("unexpected end of data"))


def _records(source: Iterable[str], dialect: Dialect, file: OpenFile) -> Iterator[Record]:
    """Records, each with its number and that of its first line; an empty line is an empty record.

    A record that is not valid CSV is reported, and reading resumes at its second line, so that an unclosed quote spoils
    no other row. Raises DataError when it is the first record.
    """
    csv.field_size_limit(LONGEST_FIELD)
    replay = _Replay(iter(source))
    number = line = 1
    while True:
        try:
            for record in csv.reader(replay, strict=True, delimiter=dialect.delimiter):
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
            replay.rewind(error)
            number += 1
            line += 1
