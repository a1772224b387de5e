"""The record batches of an Arrow file: where they begin, and their decoded size before pyarrow decompresses them.

A file holds messages, each of metadata, a table of FlatBuffers, and a body of buffers. A compressed buffer begins with
its decompressed length (https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import IO, Any

from text_classifier.reading.bounds import require_decoded
from text_classifier.reading.table import RecordBatches

#: Fields of the tables: a message's header, a dictionary's batch, a batch's buffers and compression.
_HEADER, _DATA, _BUFFERS, _COMPRESSION = 2, 1, 2, 3

#: Bytes before the first message of a file; a stream has none.
_MAGIC = b"ARROW1\x00\x00"


def record_batches(stream: IO[bytes], name: str) -> RecordBatches | None:
    """The record batches of a file; None if it has dictionaries, which all of them need, or another byte order than
    this machine, or seems to be damaged.

    Raises DataError when a batch decodes to too many bytes.
    """
    import pyarrow
    from pyarrow import ipc

    source, starts, rows, is_plain = _opened(stream), list[int](), 0, True
    try:
        while True:
            start, message = source.tell(), ipc.read_message(source)
            if message.type in ("record batch", "dictionary"):
                require_decoded(name, len(message.body), sum(_lengths(message)))
            if message.type == "record batch":
                starts.append(start)
                rows += _rows(message)
            elif starts or message.type != "schema" or _first_field(message):  # a schema's is its byte order
                is_plain = False
    except EOFError:
        return RecordBatches(tuple(starts), rows) if is_plain else None
    except (pyarrow.ArrowException, OSError, struct.error):
        return None


def read_batch(stream: IO[bytes], start: int, schema: Any) -> Any:
    """The record batch at an offset of a file without dictionaries."""
    from pyarrow import ipc

    source = _opened(stream)
    source.seek(start)
    return ipc.read_record_batch(ipc.read_message(source), schema)


def _opened(stream: IO[bytes]) -> Any:
    """A file, mapped into memory, from its first message."""
    import pyarrow

    content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    source = pyarrow.BufferReader(pyarrow.py_buffer(content))
    source.seek(len(_MAGIC) if content[: len(_MAGIC)] == _MAGIC else 0)
    return source


def _rows(message: Any) -> int:
    """The rows of a record batch."""
    length = _first_field(message)
    return int(struct.unpack_from("<q", memoryview(message.metadata), length)[0]) if length else 0


def _first_field(message: Any) -> int:
    """The position of the first field of a message's header; 0 if it is absent, as one is that has its default."""
    metadata = memoryview(message.metadata)
    header = _field(metadata, _target(metadata, 0), _HEADER)
    return _field(metadata, _target(metadata, header), 0) if header else 0


def _lengths(message: Any) -> Iterator[int]:
    """The decompressed lengths of the compressed buffers of a batch."""
    metadata, body = memoryview(message.metadata), memoryview(message.body)
    batch = _field(metadata, _target(metadata, 0), _HEADER)
    if batch and message.type == "dictionary":
        batch = _field(metadata, _target(metadata, batch), _DATA)
    if not batch:
        return
    table = _target(metadata, batch)
    buffers = _field(metadata, table, _BUFFERS)
    if not buffers or not _field(metadata, table, _COMPRESSION):
        return
    vector = _target(metadata, buffers)
    for index in range(struct.unpack_from("<I", metadata, vector)[0]):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * index)
        if length:
            yield max(0, struct.unpack_from("<q", body, offset)[0])  # -1: it is not compressed


def _target(metadata: memoryview, position: int) -> int:
    """The position to which the offset at a position points."""
    return position + int(struct.unpack_from("<I", metadata, position)[0])


def _field(metadata: memoryview, table: int, index: int) -> int:
    """The position of a field of a table; 0 if it is absent."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, fields)[0]
    offset = struct.unpack_from("<H", metadata, fields + 4 + 2 * index)[0] if 4 + 2 * index < size else 0
    return table + offset if offset else 0
