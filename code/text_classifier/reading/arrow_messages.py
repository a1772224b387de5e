"""The decoded size of an Arrow file's batches, which pyarrow decompresses as a whole, before it does.

A file holds messages, each of metadata, a table of FlatBuffers, and a body of buffers. A compressed buffer begins with
its decompressed length (https://arrow.apache.org/docs/format/Columnar.html). In a stream the messages come one after
another; in a file they are where the footer says.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import IO, Any

from text_classifier.reading.bounds import require_decoded

#: Fields of the tables: a message's header, a dictionary's batch, a batch's buffers and compression, and the footer's
#: blocks of dictionaries and batches.
_HEADER, _DATA, _BUFFERS, _COMPRESSION, _BLOCKS = 2, 1, 2, 3, (2, 3)

#: In the metadata of messages that Arrow 0.17 compressed.
_OLD_COMPRESSION = b"ARROW:experimental_compression"

#: First and last bytes of a file; a stream has neither.
_MAGIC, _END = b"ARROW1\x00\x00", b"ARROW1"

#: Bytes of a block in the footer; the first 8 are the offset of its message.
_BLOCK_BYTES = 24


def require_small_batches(stream: IO[bytes], name: str) -> None:
    """Raise DataError when a batch, or all dictionaries together, decode to too many bytes.

    Raises ValueError for a damaged message; other damage is left to who reads the file.
    """
    import pyarrow

    content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    dictionaries = 0
    try:
        for message in _messages(content):
            if message.type in ("record batch", "dictionary"):
                decoded = len(message.body) + sum(_lengths(message))
                require_decoded(name, len(message.body), decoded)
                if message.type == "dictionary":  # these stay in memory
                    dictionaries += decoded
                    require_decoded(name, len(content), dictionaries)
    except struct.error:
        raise ValueError("a message is damaged") from None
    except (pyarrow.ArrowException, OSError):
        return


def _messages(content: mmap.mmap) -> Iterator[Any]:
    """The messages in the order in which they are read."""
    import pyarrow
    from pyarrow import ipc

    source = pyarrow.BufferReader(pyarrow.py_buffer(content))
    if content[: len(_MAGIC)] != _MAGIC:
        yield from ipc.MessageReader.open_stream(source)
        return
    end = len(content) - len(_END) - 4
    footer = memoryview(content)[end - struct.unpack_from("<i", content, end)[0] : end]
    for field in _BLOCKS:
        blocks = _field(footer, _target(footer, 0), field)
        vector = _target(footer, blocks) if blocks else 0
        for index in range(struct.unpack_from("<I", footer, vector)[0] if blocks else 0):
            source.seek(struct.unpack_from("<q", footer, vector + 4 + _BLOCK_BYTES * index)[0])
            yield ipc.read_message(source)


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
