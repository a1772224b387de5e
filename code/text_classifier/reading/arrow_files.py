"""Parquet files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from text_classifier.contract.errors import DataError, printable
from text_classifier.reading.content import BLOCK
from text_classifier.reading.table import OpenFile, Row


def parquet_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a Parquet file. Raises DataError when it is damaged."""
    import pyarrow

    file.unit = "row"
    try:
        with file.path.open("rb") as stream, tempfile.TemporaryFile() as unpacked:
            if stream.read(4) == b"PAR1":
                yield from _rows(file, stream)
            else:  # compressed as a whole; Parquet is read from its end
                unpacked.writelines(file.content)
                yield from _rows(file, unpacked)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise DataError(f"{file.name} cannot be read as Parquet ({reason}); upload it again") from None


def _rows(file: OpenFile, stream: IO[bytes]) -> Iterator[Row]:
    from pyarrow.parquet import ParquetFile

    # pre_buffer would hold all column chunks of a row group, which may be the whole file, in memory at once.
    table = ParquetFile(stream, pre_buffer=False, buffer_size=BLOCK, page_checksum_verification=True)
    chosen = file.picker(table.schema_arrow.names)(table.schema_arrow.names)
    number = 0
    for batch in table.iter_batches(batch_size=1_000, columns=list(chosen)):
        for row in zip(*(_values(batch.column(name)) for name in chosen), strict=True):
            number += 1
            yield number, number, row
    if number != table.metadata.num_rows:
        raise DataError(
            f"{file.name} has {number} rows, but {table.metadata.num_rows} in its metadata; upload it again"
        )


def _values(column: Any) -> list[Any]:
    """The values of a Parquet column as Python objects; bytes that are not UTF-8 become lone surrogates."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        column = column.cast(pyarrow.large_binary())
    values: list[Any] = column.to_pylist()
    return [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values]
