"""The row groups of a Parquet file, decoded in bounded memory.

A page is decompressed as a whole, and has at most 2 GB. Its values may decode to more: one of a dictionary may stand in
all rows, and one that is stored as what differs from the value before may be as long as all of these. What they decode
to is told by the headers of the pages, not by the footer.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

from text_classifier.contract.errors import DataError
from text_classifier.reading.arrow_values import ROWS
from text_classifier.reading.bounds import require_decoded
from text_classifier.reading.content import BLOCK
from text_classifier.reading.parquet_lengths import require_few_lengths
from text_classifier.reading.parquet_pages import DELTA_BYTE_ARRAY, Page, pages
from text_classifier.reading.table import Part, RowGroups

#: Decoded bytes of a batch.
_BYTES = 1 << 29

#: Bytes of a number as a Python object, and of each value of a dictionary, apart from the value.
_NUMBER, _ENTRY = 32, 16

#: One thread forks at a time: filelock, which transformers imports, refuses a fork during another.
_FORKING = threading.Lock()


class ParquetFile:
    """A Parquet file, read a row group at a time."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        """Raises DataError, or pyarrow's errors, when it is damaged."""
        self._stream, self._name = stream, name
        self._table = _opened(stream)
        self.schema = self._table.schema_arrow
        self._metadata = self._table.metadata
        counts = [self._metadata.row_group(index).num_rows for index in range(self._metadata.num_row_groups)]
        if min(counts, default=0) < 0:
            raise ValueError(f"a row group has {min(counts)} rows")
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
        _require_sound(self._metadata, [0, *(index for index, _ in self._leaves)])
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
            chunk, file = group.column(position), self._stream.fileno()
            found = list(pages(file, _start(chunk), _start(chunk) + chunk.total_compressed_size))
            decoded = sum(page.size + (_ENTRY * page.values if page.is_dictionary else 0) for page in found)
            if leaf.max_repetition_level:
                values = sum(page.values for page in found if not page.is_dictionary)
                decoded = max(decoded, values * max(_NUMBER, leaf.length))
            else:
                widest = max(widest, _widest(leaf, found))
            require_decoded(self._name, chunk.total_compressed_size, max(decoded, leaf.length))
            for page in found:
                require_few_lengths(file, page, leaf, chunk.compression)
        return max(1, min(ROWS, _BYTES // widest))


def _require_sound(metadata: Any, columns: Sequence[int]) -> None:
    """Raise ValueError for metadata of these columns that end the process.

    They do where C++ refuses them with an exception, which pyarrow does not expect there: so another process looks
    first.
    """
    with _FORKING:
        child = os.fork()
    if not child:
        try:
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for index in range(metadata.num_row_groups):
                for column in columns:
                    metadata.row_group(index).column(column).compression  # noqa: B018
        finally:
            os._exit(0)  # an exception of Python's comes in this process again
    if os.waitpid(child, 0)[1]:
        raise ValueError("the metadata of a column are damaged")


def _widest(leaf: Any, found: Sequence[Page]) -> int:
    """An upper bound of the bytes of a value that may stand in many rows of a column chunk with these pages."""
    if not _is_string(leaf):
        return max(_NUMBER, leaf.length)
    if any(page.encoding == DELTA_BYTE_ARRAY for page in found):
        return sum(page.size for page in found)
    return sum(page.size for page in found if page.is_dictionary)


def _start(chunk: Any) -> int:
    """The offset of the first page of a column chunk: its dictionary, if it has one."""
    return int(min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset))


def _opened(stream: IO[bytes], **options: Any) -> Any:
    from pyarrow import parquet

    # pre_buffer would hold all column chunks of a row group, which may be the whole file, in memory at once.
    return parquet.ParquetFile(stream, pre_buffer=False, buffer_size=BLOCK, page_checksum_verification=True, **options)


def _is_string(leaf: Any) -> bool:
    return bool(leaf.physical_type == "BYTE_ARRAY")
