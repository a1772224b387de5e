"""The header of a file with separated fields: whether a record repeats it, and what it is when it is none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading import label_map
from text_classifier.reading.columns import has_columns, is_usual
from text_classifier.reading.dialect import SEPARATORS, Dialect
from text_classifier.reading.fields import SET_ENCODING
from text_classifier.reading.table import MOST_COLUMNS, OpenFile, column_name

#: A record: its number, the number of its first line, and its fields.
Record = tuple[int, int, list[str]]

#: Records below the first one among which the header is looked for when the first is none.
_TRIED = 10

#: A header with a longer name looks like a row.
_LONGEST_NAME = 80

#: A byte order mark and quotes, which are left in a header that stands further below: files joined by `cat`.
_LEFT_IN_HEADER = '\ufeff"'

#: Blanks and quotes, which stand around a name in a line that is not read as CSV.
_AROUND_NAME = ' "\r'


def spellings(name: str) -> frozenset[str]:
    """The first field of a header as other files of the same columns may have it."""
    name = name.strip(_LEFT_IN_HEADER)
    cases = (name, name.strip(), name.lower(), name.upper(), name.capitalize(), name.title())
    return frozenset(spelling for case in cases for spelling in (case, f'"{case}"', f"\ufeff{case}", f'\ufeff"{case}"'))


def is_header(fields: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a record is the header again, if only by its names. Of a single column its exact name alone is."""
    return list(fields) == list(header) or (len(header) > 1 and _names(fields) == _names(header))


def _names(fields: Sequence[str]) -> list[str]:
    return [column_name(field.strip(_LEFT_IN_HEADER)).casefold() for field in fields]


def problem(file: OpenFile, header: Sequence[str], records: Iterable[Record], dialect: Dialect) -> str | None:
    """The sentence for a header without the wanted columns that is no header at all; None if it may be one."""
    if not file.options.has_header:
        return None
    if any("\udc80" <= character <= "\udcff" for field in header for character in field):
        return f"{file.name} line 1, the header, is not UTF-8; {SET_ENCODING}"
    rows = []
    for line, fields in _readable(records):
        if names_columns(dialect.delimiter.join(fields), file.choose):
            return f"{file.name}: the header is line {line}, not line 1; remove the lines above it"
        rows.append(fields)
    if not _looks_like_row(header, rows):
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


def _readable(records: Iterable[Record]) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of the first records, up to one that cannot be read."""
    try:
        for _, line, fields in itertools.islice(records, _TRIED):
            yield line, fields
    except DataError:
        return


def names_columns(line: str, choose: Callable[[list[str], Sequence[Any]], object]) -> bool:
    """Whether a line is a header of which `choose` can choose the columns, whatever separates them."""
    for separator in SEPARATORS:
        names = line.split(separator, MOST_COLUMNS)
        if len(names) > MOST_COLUMNS:
            continue
        if has_columns(choose, [column_name(name.strip(_AROUND_NAME)) for name in names]):
            return True
    return False


def _looks_like_row(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a header has a number, a long text, or what a row has in the same place, and no name that is usual."""
    if any(map(is_usual, header)):
        return False
    if any(
        len(field) > _LONGEST_NAME or field.count(" ") > 5 or label_map.number(field) is not None for field in header
    ):
        return True
    others = [fields for fields in rows if not is_header(fields, header)]
    return any(name == field and name.strip() for fields in others for name, field in zip(header, fields, strict=False))
