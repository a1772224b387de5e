"""File formats, detected from the content: CSV, TSV, JSON lines, a JSON array, Parquet.

CSV follows RFC 4180, with commas or semicolons. TSV has no quoting, as in the Amazon review files: a lone `"` is text.
JSON lines have one object per line, a JSON array is one array of objects. Text is UTF-8, with or without a byte order
mark; other bytes are decoded to lone surrogates, which fields.py reports.

No row is dropped silently: each is yielded, reported to `Problems`, or ends the reading with a DataError.
"""

from __future__ import annotations

import codecs
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Protocol

from text_classifier.contract.errors import DataError, printable
from text_classifier.reading.records import array_elements, csv_records, lines
from text_classifier.reading.sources import BLOCK, blocks

#: The columns of a JSON file are the names in its first objects, this many: an object may lack a name without a value.
OBJECTS_FOR_COLUMNS = 1_000

#: The value of a name that a JSON object lacks.
MISSING = object()

#: A row: its number in the file, and its fields in the order of the chosen columns.
Row = tuple[int, Sequence[Any]]

#: Chooses from the columns of a file.
Choose = Callable[[Sequence[str]], Sequence[str]]


class Problems(Protocol):
    """Receives the rows that cannot be read."""

    def add(self, place: str, reason: str, remedy: str = ...) -> None:
        """Report a bad row. May raise DataError."""


class Reader:
    """The rows of one file. `unit` is what row numbers count: "line", or "row" for formats without lines."""

    def __init__(self, path: Path, name: str, choose: Choose, problems: Problems) -> None:
        self.path = path
        self.name = name
        self._choose = choose
        self._problems = problems
        content = blocks(path, name)
        head = next(content, b"").removeprefix(codecs.BOM_UTF8)
        self._content = itertools.chain([head], content)
        self.format = _recognize(head, name)
        self.unit = "row" if self.format in ("parquet", "json array") else "line"

    def rows(self) -> Iterator[Row]:
        """Yield all rows; call it once. Raises DataError when the file as a whole cannot be read."""
        readers = {
            "csv": self._csv, "tsv": self._tsv, "json lines": self._json_lines, "json array": self._json_array,
            "parquet": self._parquet,
        }  # fmt: skip
        return readers[self.format]()

    def _bad(self, number: int, reason: str, remedy: str = "fix or remove the row") -> None:
        self._problems.add(f"{self.name} {self.unit} {number}", reason, remedy)

    def _pick(self, columns: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """A function that picks the chosen fields out of a row with these columns."""
        header = [column.strip() for column in columns]
        repeated = [column for column in header if column and header.count(column) > 1]
        if repeated:
            raise DataError(f"{self.name} has two columns named {repeated[0]!r}; rename one of them")
        indices = [header.index(column) for column in self._choose(header)]
        return itemgetter(*indices) if len(indices) > 1 else itemgetter(slice(indices[0], indices[0] + 1))

    def _fields(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
        """Rows below a header row, with as many fields as it has. Empty lines are skipped."""
        rows = iter(rows)
        header = next((row for _, row in rows if row), None)
        if header is None:
            return
        pick, width = self._pick(header), len(header)
        for number, row in rows:
            if len(row) == width:
                yield number, pick(row)
            elif row:
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                self._bad(number, f"has {fields}, the header has {width}")

    def _tsv(self) -> Iterator[Row]:
        rows = (line.removesuffix("\r") for line in lines(self._content, self.name))
        return self._fields((number, row.split("\t") if row else []) for number, row in enumerate(rows, start=1))

    def _csv(self) -> Iterator[Row]:
        return self._fields(csv_records(lines(self._content, self.name), self.name, self._bad))

    def _json_lines(self) -> Iterator[Row]:
        return self._objects(self._parsed_lines())

    def _parsed_lines(self) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(lines(self._content, self.name), start=1):
            if line and not line.isspace():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    self._bad(number, f"is not JSON ({error})", "write one JSON object per line")

    def _json_array(self) -> Iterator[Row]:
        return self._objects(array_elements(self._content, self.name))

    def _objects(self, values: Iterator[tuple[int, Any]]) -> Iterator[Row]:
        first = list(itertools.islice(values, OBJECTS_FOR_COLUMNS))
        columns = list(dict.fromkeys(name for _, value in first if isinstance(value, dict) for name in value))
        chosen = self._choose(columns) if columns else ()
        for number, value in itertools.chain(first, values):
            if isinstance(value, dict):
                chosen = chosen or self._choose(list(value))
                yield number, [value.get(column, MISSING) for column in chosen]
            else:
                self._bad(number, "is not a JSON object", "write one JSON object per row")

    def _parquet(self) -> Iterator[Row]:
        import pyarrow

        try:
            with self.path.open("rb") as file, tempfile.TemporaryFile() as unpacked:
                if file.read(4) == b"PAR1":
                    yield from self._parquet_rows(file)
                else:  # compressed as a whole; Parquet is read from its end
                    unpacked.writelines(self._content)
                    yield from self._parquet_rows(unpacked)
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            reason = printable(str(error).partition("\n")[0])
            raise DataError(f"{self.name} cannot be read as Parquet ({reason}); upload it again") from None

    def _parquet_rows(self, file: IO[bytes]) -> Iterator[Row]:
        from pyarrow.parquet import ParquetFile

        # pre_buffer would hold all column chunks of a row group, which may be the whole file, in memory at once.
        table = ParquetFile(file, pre_buffer=False, buffer_size=BLOCK, page_checksum_verification=True)
        chosen = self._pick(table.schema_arrow.names)(table.schema_arrow.names)
        number = 0
        for batch in table.iter_batches(batch_size=1_000, columns=list(chosen)):
            for row in zip(*(_values(batch.column(name)) for name in chosen), strict=True):
                number += 1
                yield number, row
        if number != table.metadata.num_rows:
            raise DataError(
                f"{self.name} has {number} rows, but {table.metadata.num_rows} in its metadata; upload it again"
            )


def _recognize(head: bytes, name: str) -> str:
    """The format of a file that starts with `head`. Raises DataError when it is neither text nor Parquet."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head[:1000].count(0) > len(head[:1000]) // 4:
        raise DataError(f"{name} is UTF-16 or not a text file; convert it to UTF-8")
    start = head.lstrip()
    if start.startswith(b"{"):
        return "json lines"
    if start.startswith(b"["):
        return "json array"
    header, newline, _ = start.partition(b"\n")
    if any(byte < 9 or 13 < byte < 32 for byte in header[:1000]):
        raise DataError(f"{name} has control characters in its first line; give a CSV, TSV, JSON or Parquet file")
    if b"\r" in header.removesuffix(b"\r") and not newline:
        raise DataError(f"{name} has lines that end with only a carriage return; convert them to line feeds")
    return "tsv" if b"\t" in header else "csv"


def _values(column: Any) -> list[Any]:
    """The values of a Parquet column as Python objects; bytes that are not UTF-8 become lone surrogates."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        column = column.cast(pyarrow.large_binary())
    values: list[Any] = column.to_pylist()
    return [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values]
