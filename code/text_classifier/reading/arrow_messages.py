"""The record batches of an Arrow file: where they begin, and their decoded size before pyarrow decompresses them.

A file holds messages, each of metadata, a table of FlatBuffers, and a body of buffers. A compressed buffer begins with
its decompressed length (https://arrow.apache.org/docs/format/Columnar.html). In a stream the messages come one after
another; in a file they are where the footer says.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from text_classifier.reading.bounds import require_decoded
from text_classifier.reading.table import RecordBatches

#: Fields of the tables: a message's header, a dictionary's batch, a batch's buffers and compression, and the footer's
#: schema and blocks of dictionaries and batches. A schema's first field is its byte order, a batch's its rows.
_HEADER, _DATA, _BUFFERS, _COMPRESSION, _SCHEMA, _BLOCKS = 2, 1, 2, 3, 1, (2, 3)

#: In the metadata of messages that Arrow 0.17 compressed.
_OLD_COMPRESSION = b"ARROW:experimental_compression"

#: First and last bytes of a file; a stream has neither.
_MAGIC, _END = b"ARROW1\x00\x00", b"ARROW1"

#: Bytes of a block in the footer; the first 8 are the offset of its message.
_BLOCK_BYTES = 24


def record_batches(stream: IO[bytes], name: str) -> RecordBatches | None:
    """The record batches of a file; None if they cannot be read one by one: with dictionaries, which all of them need,
    in another order or byte order than usual, or if one seems to be damaged.

    Raises DataError when a batch, or all dictionaries together, decode to too many bytes, and ValueError for a damaged
    message; other damage is left to who reads the file.
    """
    import pyarrow

    content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    starts, rows, dictionaries, is_plain = [-1], 0, 0, True
    try:
        footer = _footer(content)
        if footer is not None:
            is_plain = not _field(footer, _target(footer, _field(footer, _target(footer, 0), _SCHEMA)), 0)
        for start, message in _messages(content, footer):
            if message.type not in ("record batch", "dictionary"):
                is_plain = is_plain and message.type == "schema" and not _first_field(message)  # its byte order
                continue
            decoded = len(message.body) + sum(_lengths(message))
            require_decoded(name, len(message.body), decoded)
            if message.type == "dictionary":  # these stay in memory
                dictionaries += decoded
                require_decoded(name, len(content), dictionaries)
            is_plain = is_plain and message.type == "record batch" and start > starts[-1]
            starts.append(start)
            rows += _rows(message)
    except struct.error:
        raise ValueError("a message is damaged") from None
    except (pyarrow.ArrowException, OSError):
        return None
    return RecordBatches(tuple(starts[1:]), rows) if is_plain else None


def read_batch(stream: IO[bytes], start: int, schema: Any) -> Any:
    """The record batch at an offset of a file without dictionaries."""
    from pyarrow import ipc

    stream.seek(start)
    return ipc.read_record_batch(ipc.read_message(stream), schema)


def _footer(content: mmap.mmap) -> memoryview | None:
    """The footer of a file; None for a stream."""
    if content[: len(_MAGIC)] != _MAGIC:
        return None
    end = len(content) - len(_END) - 4
    return memoryview(content)[end - struct.unpack_from("<i", content, end)[0] : end]


def _messages(content: mmap.mmap, footer: memoryview | None) -> Iterator[tuple[int, Any]]:
    """The messages in the order in which they are read, each with its offset."""
    import pyarrow
    from pyarrow import ipc

    source = pyarrow.BufferReader(pyarrow.py_buffer(content))
    if footer is None:
        with suppress(EOFError):  # after the last one
            while True:
                yield source.tell(), ipc.read_message(source)
        return
    for field in _BLOCKS:
        blocks = _field(footer, _target(footer, 0), field)
        vector = _target(footer, blocks) if blocks else 0
        for index in range(struct.unpack_from("<I", footer, vector)[0] if blocks else 0):
            start = struct.unpack_from("<q", footer, vector + 4 + _BLOCK_BYTES * index)[0]
            source.seek(start)
            yield start, ipc.read_message(source)


def _rows(message: Any) -> int:
    """The rows of a record batch; 0 of a dictionary, which is another table."""
    length = _first_field(message) if message.type == "record batch" else 0
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
    is_compressed = _field(metadata, table, _COMPRESSION) or _OLD_COMPRESSION in bytes(metadata)
    if not buffers or not is_compressed:
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
