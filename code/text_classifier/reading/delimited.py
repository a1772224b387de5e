"""Text files with separated fields: CSV in its dialects, TSV, and fastText's lines."""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading import dialect as dialects
from text_classifier.reading import label_map
from text_classifier.reading.dialect import Dialect
from text_classifier.reading.table import LONGEST_FIELD, NoHeader, OpenFile, Row
from text_classifier.reading.text_lines import LONGEST_LINE, lines

#: Lines and characters from which the dialect is detected.
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 1_000, 1 << 17

#: Records below the first one among which the header is looked for when the first is none.
_HEADER_TRIED = 10

#: A header with a longer name looks like a row.
_LONGEST_NAME = 80

_CSV_REASONS = {
    "unexpected end of data": "a quote opened here is never closed",
    "field larger than field limit": "a quote opened here is not closed within 10,000,000 characters",
    "expected after": "a quote is closed in the middle of a field",
    "new-line character seen": "an unquoted field contains a carriage return",
}


#: How fastText marks labels.
_FASTTEXT = "__label__"

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}

#: A record: its number, the number of its first line, and its fields.
Record = tuple[int, int, list[str]]


def delimited_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a file with separated fields."""
    source = lines(file.content, file.name)
    sample: list[str] = []
    while len(sample) < _SAMPLE_LINES and sum(map(len, sample[-1:])) < _SAMPLE_CHARACTERS:
        line = next(source, None)
        if line is None:
            break
        sample.append(line)
    source = itertools.chain(sample, source)
    dialect = dialects.detect([line.removesuffix("\r") for line in sample], file.options.delimiter)
    if dialect.is_quoted:
        records = _records(dialects.quotes(source, dialect), dialect, file)
    else:
        records = _split(source, dialect.delimiter)
    if dialect.has_sep_line:  # the first line, which is no header
        records = itertools.dropwhile(lambda record: record[1] == 1, records)
    return _fields(file, records, dialect)


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
    return head.startswith(_FASTTEXT.encode())


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
    first = list(itertools.islice((record for record in records if record[2]), _HEADER_TRIED))
    if not header or not first:
        return
    try:
        pick = file.picker(header, first[0][2])
    except NoHeader:
        raise
    except DataError:
        if problem := _header_problem(file, header, first):
            raise DataError(problem) from None
        raise
    width, headers, names = len(header), 0, header[0] if file.options.has_header else None
    for number, line, fields in itertools.chain(first, records):
        if len(fields) == width:
            start = fields[0]
            if start != names and start.strip():
                yield number, line, pick(fields)
            elif start == names and fields == header:
                headers += 1
            elif any(map(str.strip, fields)):
                yield number, line, pick(fields)
        elif any(map(str.strip, fields)):
            file.bad(number, line, *_wrong_width(file, len(fields), width, dialect))
    if headers:
        file.notes.append("lines that repeat the header are no rows")


def _wrong_width(file: OpenFile, found: int, width: int, dialect: Dialect) -> tuple[str, str]:
    """Reason and remedy for a row with another number of fields than the header."""
    fields = "1 field" if found == 1 else f"{found} fields"
    wanted = f"the header has {width}" if file.options.has_header else f"columns names {width}"
    separator = _NAMES.get(dialect.delimiter, f"{dialect.delimiter!r}")
    remedy = f"quote texts that hold a {separator}, or fix the row" if found > width else "fix or remove the row"
    return f"has {fields}, {wanted}", remedy if dialect.is_quoted else "fix or remove the row"


def _header_problem(file: OpenFile, header: Sequence[str], first: Sequence[Record]) -> str | None:
    """The sentence for a header without the wanted columns that is no header at all; None if it may be one."""
    if not file.options.has_header:
        return None
    for _, line, fields in first:
        try:
            file.choose([field.strip() for field in fields], ())
        except DataError:
            continue
        return f"{file.name} line 1 is not the header, line {line} is; remove what stands above it"
    if not any(
        len(field) > _LONGEST_NAME or field.count(" ") > 5 or label_map.number(field) is not None for field in header
    ):
        return None
    longest = max(range(len(header)), key=lambda index: len(header[index]))
    names = ["text" if index == longest else f"column{index + 1}" for index in range(len(header))]
    others = [index for index in range(len(header)) if index != longest]
    if others:
        names[min(others, key=lambda index: len(header[index]))] = "label"
    return (
        f"{file.name} has no header: its first line is a row ({listed([field[:40] for field in header])}); add one, "
        f"or set has_header=false and columns={','.join(names)}"
    )


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
            replay.rewind()
            number += 1
            line += 1
