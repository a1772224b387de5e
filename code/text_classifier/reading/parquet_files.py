"""The row groups of a Parquet file, decoded in bounded memory.

A page is decompressed as a whole, and has at most 2 GB. Its values may decode to more: one of a dictionary may stand in
all rows, and one that is stored as what differs from the value before may be as long as all of these.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from text_classifier.contract.errors import DataError
from text_classifier.reading.arrow_values import ROWS
from text_classifier.reading.bounds import require_decoded
from text_classifier.reading.content import BLOCK
from text_classifier.reading.table import Part, RowGroups

#: Decoded bytes of a batch.
_BYTES = 1 << 29

#: Bytes of a number as a Python object.
_NUMBER = 32

#: The header of a page, in Thrift's compact form, begins with the page's type and its decompressed size.
_HEADER = re.compile(rb"\x15[\x80-\xff]*[\x00-\x7f]\x15([\x80-\xff]*[\x00-\x7f])")


class ParquetFile:
    """A Parquet file, read a row group at a time."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        """Raises DataError, or pyarrow's errors, when it is damaged."""
        self._stream, self._name = stream, name
        self._table = _opened(stream)
        self.schema = self._table.schema_arrow
        self._metadata = self._table.metadata
        counts = [self._metadata.row_group(index).num_rows for index in range(self._metadata.num_row_groups)]
        self.rows = sum(counts)
        if self.rows != self._metadata.num_rows:
            raise DataError(
                f"{name} has {self.rows} rows, but {self._metadata.num_rows} in its metadata; upload it again"
            )

    def layout(self) -> RowGroups | None:
        """The row groups; None if they do not stand in the file in order."""
        chunks = [self._metadata.row_group(index).column(0) for index in range(self._metadata.num_row_groups)]
        starts = [_start(chunk) for chunk in chunks]
        is_in_order = all(before < after for before, after in itertools.pairwise([-1, *starts]))
        return RowGroups(tuple(starts)) if is_in_order else None

    def row_groups(self, part: Part) -> list[int]:
        """The indices of the row groups of a part."""
        if not isinstance(part.layout, RowGroups):
            return list(range(self._metadata.num_row_groups))
        return part.picked(part.layout.starts)

    def pick(self, names: Sequence[str]) -> None:
        """Choose the columns that are read."""
        self._names = list(dict.fromkeys(names))
        schema = self._metadata.schema
        leaves = [(index, schema.column(index)) for index in range(len(schema))]
        self._leaves = [
            (index, leaf)
            for index, leaf in leaves
            if any(leaf.path == name or leaf.path.startswith(f"{name}.") for name in self._names)
        ]
        # Lists may have any number of elements: their strings stay in a dictionary.
        lists = [leaf.path for _, leaf in self._leaves if leaf.max_repetition_level and _is_string(leaf)]
        if lists:
            self._table = _opened(self._stream, metadata=self._metadata, read_dictionary=lists)

    def batches(self, index: int) -> Iterator[Any]:
        """The batches of a row group. Raises DataError when it lacks rows."""
        rows, size = 0, self._batch_rows(index)
        for batch in self._table.iter_batches(batch_size=size, row_groups=[index], columns=self._names):
            rows += len(batch)
            yield batch
        expected = self._metadata.row_group(index).num_rows
        if rows != expected:
            raise DataError(f"{self._name} has {rows} rows, but {expected} in its metadata; upload it again")

    def _batch_rows(self, index: int) -> int:
        """So many rows of a row group that their values fit into memory. Raises DataError when one row may not."""
        group, widest = self._metadata.row_group(index), 1
        for position, leaf in self._leaves:
            chunk = group.column(position)
            decoded = chunk.total_uncompressed_size
            if leaf.max_repetition_level:
                decoded = max(decoded, chunk.num_values * max(_NUMBER, leaf.length))
            else:
                widest = max(widest, self._widest(leaf, chunk))
            require_decoded(self._name, chunk.total_compressed_size, decoded)
        return max(1, min(ROWS, _BYTES // widest))

    def _widest(self, leaf: Any, chunk: Any) -> int:
        """An upper bound of the bytes of a value that may stand in many rows."""
        if not _is_string(leaf):
            return max(_NUMBER, leaf.length)
        if "DELTA_BYTE_ARRAY" in chunk.encodings:
            return int(chunk.total_uncompressed_size)
        if not chunk.dictionary_page_offset and not any("DICTIONARY" in encoding for encoding in chunk.encodings):
            return 0
        header = _HEADER.match(os.pread(self._stream.fileno(), 32, _start(chunk)))
        return _number(header[1]) if header else int(chunk.total_uncompressed_size)


def _start(chunk: Any) -> int:
    """The offset of the first page of a column chunk: its dictionary, if it has one."""
    return int(min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset))


def _opened(stream: IO[bytes], **options: Any) -> Any:
    from pyarrow import parquet

    # pre_buffer would hold all column chunks of a row group, which may be the whole file, in memory at once.
    return parquet.ParquetFile(stream, pre_buffer=False, buffer_size=BLOCK, page_checksum_verification=True, **options)


def _is_string(leaf: Any) -> bool:
    return bool(leaf.physical_type == "BYTE_ARRAY")


def _number(varint: bytes) -> int:
    """A positive number in zigzag form, seven bits a byte."""
    return sum((byte & 127) << 7 * place for place, byte in enumerate(varint)) >> 1
