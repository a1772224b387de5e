"""The decoded size of an Arrow file's batches, which pyarrow decompresses as a whole, before it does.

A file holds messages, each of metadata, a table of FlatBuffers, and a body of buffers. A compressed buffer begins with
its decompressed length (https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import IO, Any

from text_classifier.reading.bounds import require_decoded

#: Fields of the tables: a message's header, a dictionary's batch, a batch's buffers and compression.
_HEADER, _DATA, _BUFFERS, _COMPRESSION = 2, 1, 2, 3

#: Bytes before the first message of a file; a stream has none.
_MAGIC = b"ARROW1\x00\x00"


def require_small_batches(stream: IO[bytes], name: str) -> None:
    """Raise DataError when a batch decodes to too many bytes. That a file is damaged is left to who reads it."""
    import pyarrow
    from pyarrow import ipc

    content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    source = pyarrow.BufferReader(pyarrow.py_buffer(content))
    source.seek(len(_MAGIC) if content[: len(_MAGIC)] == _MAGIC else 0)
    try:
        for message in ipc.MessageReader.open_stream(source):
            if message.type in ("record batch", "dictionary"):
                require_decoded(name, len(message.body), sum(_lengths(message)))
    except (pyarrow.ArrowException, OSError, struct.error):
        return


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
