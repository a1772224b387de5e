"""Files of reviews to rows: a text and a label each, and where the row stands.

CSV as RFC 4180 has it. TSV without quoting, as in the Amazon review files: a lone `"` is text there. JSON lines, one
object a line. Each also gzipped. All UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from failures import DataError

#: A text longer than this is a quote that was never closed.
LONGEST_FIELD = 10_000_000

DEFAULT_TEXT_COLUMNS = (("review_headline", "review_body"), ("text",))
DEFAULT_LABEL_COLUMNS = (("star_rating",), ("label",))

#: A row of a file: the number of its first line, and its fields by name.
Record = tuple[int, dict[str, object]]


@dataclass
class Reviews:
    """Rows of a channel. `places` says where each stands, as `file.tsv line 7`."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: list[int]) -> Reviews:
        """The rows of these indices, in their order."""
        return Reviews(*([column[row] for row in rows] for column in (self.texts, self.labels, self.places)))


def read(folder: Path, text_columns: str, label_column: str) -> Reviews:
    """Read all files of a channel, sub-folders included, in the order of their names.

    `text_columns` (comma-separated) and `label_column` may be empty: then the usual names are tried.
    Raises DataError that names file, line and column.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DataError(f"the channel {folder.name!r} holds no file; give it a .csv, .tsv or .jsonl file")
    texts_wanted = (tuple(name.strip() for name in text_columns.split(",")),) if text_columns else DEFAULT_TEXT_COLUMNS
    labels_wanted = ((label_column.strip(),),) if label_column else DEFAULT_LABEL_COLUMNS
    reviews = Reviews()
    for path in files:
        name = f"{folder.name}/{path.relative_to(folder)}"
        try:
            _read_file(path, name, texts_wanted, labels_wanted, reviews)
        except UnicodeDecodeError as error:
            raise DataError(f"{name} is not UTF-8 ({error.reason}); convert it to UTF-8") from None
        except (OSError, EOFError) as error:
            raise DataError(f"{name} cannot be read ({error}); upload it again") from None
    return reviews


def texts(path: Path, text_columns: str) -> Iterator[tuple[str, str]]:
    """Each row's place and text, row by row, of one file of any size; no label is wanted. Raises DataError."""
    wanted = (tuple(name.strip() for name in text_columns.split(",")),) if text_columns else DEFAULT_TEXT_COLUMNS
    columns: tuple[str, ...] = ()
    try:
        for line, record in _records(path, path.name):
            columns = columns or _find_columns(wanted, record, path.name, "text_columns")
            place = f"{path.name} line {line}"
            yield place, " ".join(filter(None, (_field(record, column, place) for column in columns)))
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 ({error.reason}); convert it to UTF-8") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read ({error}); upload it again") from None


def _read_file(
    path: Path,
    name: str,
    texts_wanted: tuple[tuple[str, ...], ...],
    labels_wanted: tuple[tuple[str, ...], ...],
    reviews: Reviews,
) -> None:
    rows_before = len(reviews)
    text_names: tuple[str, ...] = ()
    label_name = ""
    for line, record in _records(path, name):
        if not text_names:
            text_names = _find_columns(texts_wanted, record, name, "text_columns")
            (label_name,) = _find_columns(labels_wanted, record, name, "label_column")
        place = f"{name} line {line}"
        fields = [_field(record, column, place) for column in text_names]
        label = _field(record, label_name, place).strip()
        if not label:
            raise DataError(f"{place} has no label in column {label_name!r}; fill it in or remove the row")
        reviews.texts.append(" ".join(text for text in fields if text))
        reviews.labels.append(label)
        reviews.places.append(place)
    if len(reviews) == rows_before:
        raise DataError(f"{name} has no rows; give it a header and at least one row, or remove the file")


def _records(path: Path, name: str) -> Iterator[Record]:
    readers: dict[str, Callable[[io.TextIOBase, str], Iterator[Record]]] = {
        ".csv": _csv, ".tsv": _tsv, ".jsonl": _json_lines, ".json": _json_lines,
    }  # fmt: skip
    is_gzip = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if is_gzip else path.suffix
    if suffix not in readers:
        known = ", ".join(readers)
        raise DataError(f"{name} has no known format; its name must end in one of {known}, or in one of these and .gz")
    newline = "" if suffix == ".csv" else "\n"
    open_file = gzip.open if is_gzip else open
    with open_file(path, "rt", encoding="utf-8-sig", newline=newline) as file:
        assert isinstance(file, io.TextIOBase)
        yield from readers[suffix](file, name)


def _csv(file: io.TextIOBase, name: str) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader(file, strict=True)
    header: list[str] = []
    first_line = 1
    try:
        for row in rows:
            if header and row:
                yield first_line, _named(header, row, f"{name} line {first_line}")
            elif row:
                header = _header(row, name)
            first_line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name} line {first_line} is not CSV ({error}); quote fields and double the quotes in them"
        ) from None


def _tsv(file: io.TextIOBase, name: str) -> Iterator[Record]:
    header: list[str] = []
    for number, line in enumerate(file, start=1):
        row = line.rstrip("\r\n").split("\t")
        if header and row != [""]:
            yield number, _named(header, row, f"{name} line {number}")
        elif row != [""]:
            header = _header(row, name)


def _json_lines(file: io.TextIOBase, name: str) -> Iterator[Record]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} line {number} is not JSON ({error}); write one JSON object a line") from None
        if not isinstance(record, dict):
            raise DataError(f"{name} line {number} is not a JSON object; write one JSON object a line")
        yield number, record


def _header(row: list[str], name: str) -> list[str]:
    header = [column.strip() for column in row]
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{name} has the column {twice[0]!r} twice; rename one of them")
    return header


def _named(header: list[str], row: list[str], place: str) -> dict[str, object]:
    if len(row) != len(header):
        raise DataError(f"{place} has {len(row)} fields, the header has {len(header)}; mend or remove the row")
    return dict(zip(header, row, strict=True))


def _find_columns(
    wanted: tuple[tuple[str, ...], ...], record: dict[str, object], name: str, hyperparameter: str
) -> tuple[str, ...]:
    """The first group of columns that the file has whole."""
    for columns in wanted:
        if all(column in record for column in columns):
            return columns
    missing = next(column for column in wanted[-1] if column not in record)
    nearest = difflib.get_close_matches(missing, record, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    named = " or ".join(repr(",".join(columns)) for columns in wanted)
    raise DataError(
        f"{name} has no column {named}; {hint}set {hyperparameter} to one of its columns: {', '.join(map(str, record))}"
    )


def _field(record: dict[str, object], column: str, place: str) -> str:
    if column not in record:
        raise DataError(f"{place} has no field {column!r}; add it or remove the row")
    value = record[column]
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise DataError(f"{place} has a {type(value).__name__} in field {column!r}; put a text or a number there")
    return str(value)
