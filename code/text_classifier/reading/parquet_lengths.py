"""The number of lengths in a Parquet page that stores them as differences, which pyarrow decodes as a whole.

A block of equal lengths takes some bytes, however many there are: https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

from __future__ import annotations

import os
from typing import Any

from text_classifier.reading.parquet_pages import DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, Page, varint

#: pyarrow's names of what pages are compressed with.
_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "LZ4": "lz4_raw"}


def require_few_lengths(file: int, page: Page, leaf: Any, compression: str) -> None:
    """Raise ValueError where a page of a column has more lengths than values."""
    if page.encoding not in (DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY):
        return
    content, position = _values(file, page, leaf, compression), 0
    try:
        if page.encoding == DELTA_BYTE_ARRAY:  # lengths in common with the value before, and those of the rest
            position = _end(content, position, page.values)
        _end(content, position, page.values)
    except IndexError:
        raise ValueError("a page has a damaged list of lengths") from None


def _values(file: int, page: Page, leaf: Any, compression: str) -> bytes:
    """The values of a page, decompressed, without the levels before them."""
    content = os.pread(file, page.stored, page.offset)
    levels, content = content[: page.levels], content[page.levels :]
    if page.is_compressed and compression != "UNCOMPRESSED" and content:
        content = _decompressed(content, page.size - len(levels), compression)
    if not page.has_levels_inside:
        return content
    position = 0
    for most in (leaf.max_repetition_level, leaf.max_definition_level):
        if most:
            position += 4 + int.from_bytes(content[position : position + 4], "little")
    return content[position:]


def _decompressed(content: bytes, size: int, compression: str) -> bytes:
    import pyarrow

    if compression not in _CODECS:
        raise ValueError(f"its compression is {compression}")
    return pyarrow.Codec(_CODECS[compression]).decompress(content, size, asbytes=True)


def _end(content: bytes, position: int, most: int) -> int:
    """The end of integers that are stored as differences, of which there may be so many at most.

    Raises ValueError for more, and IndexError where the content ends before them.
    """
    block, position = varint(content, position)
    parts, position = varint(content, position)
    count, position = varint(content, position)
    _, position = varint(content, position)
    if count > most:
        raise ValueError("a page has more lengths than values")
    if not parts or block % (32 * parts):
        raise ValueError("a page has a damaged list of lengths")
    left = count - 1
    while left > 0:
        _, position = varint(content, position)
        widths = content[position : position + parts]
        position += len(widths)
        for width in widths:
            if left > 0:
                position += width * (block // parts) // 8
                left -= block // parts
        if position > len(content):
            raise IndexError
    return position
