"""The pages of a Parquet column, as their own headers describe them.

The footer has totals of sizes, values and encodings, but decoding a page follows the page's header alone. A header is a
struct in Thrift's compact protocol: https://parquet.apache.org/docs/file-format/metadata/ and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Encodings: the lengths of strings, or these and what they share with the string before.
DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY = 6, 7

#: Fields of a header: sizes in bytes, and what else there is to a page of each kind.
_DECOMPRESSED, _COMPRESSED = 2, 3
_DATA, _DICTIONARY, _DATA_V2 = 5, 7, 8

#: Fields of these: the number of values, their encoding, and in the second version of data pages the bytes of levels,
#: and whether the values are compressed.
_VALUES, _ENCODING = 1, {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}
_LEVELS, _IS_COMPRESSED = (5, 6), 7

#: Bytes of a header, with statistics: most often, and at most (as pyarrow reads them).
_USUAL, _MOST = 1 << 8, 1 << 24

#: Structs in one another: the header, that of its kind, and statistics.
_DEPTH = 3


@dataclass(frozen=True)
class Page:
    """A page of values, or the dictionary of a column chunk."""

    offset: int  #: of its content
    stored: int  #: bytes
    size: int  #: bytes, decompressed
    values: int
    encoding: int
    is_dictionary: bool = False
    has_levels_inside: bool = False  #: with the values, and compressed with them
    levels: int = 0  #: bytes of those before the values
    is_compressed: bool = True


def pages(file: int, start: int, end: int) -> Iterator[Page]:
    """The pages between two offsets of an open file, without those that are skipped in reading.

    Raises ValueError for a header that is damaged, and OSError.
    """
    while start < end:
        header, length = _header(file, start)
        start += length
        size, stored = (_natural(header.get(number)) for number in (_DECOMPRESSED, _COMPRESSED))
        for kind, encoding in _ENCODING.items():
            if isinstance(own := header.get(kind), dict):
                is_second = kind == _DATA_V2
                yield Page(
                    start,
                    stored,
                    size,
                    values=_natural(own.get(_VALUES)),
                    encoding=_natural(own.get(encoding)),
                    is_dictionary=kind == _DICTIONARY,
                    has_levels_inside=kind == _DATA,
                    levels=sum(_natural(own.get(number)) for number in _LEVELS) if is_second else 0,
                    is_compressed=own.get(_IS_COMPRESSED) is not False or not is_second,
                )
        start += stored


def varint(content: bytes, position: int) -> tuple[int, int]:
    """The number of seven bits a byte, the lowest first, at a position, and the position after it.

    Raises IndexError beyond the content's end.
    """
    number = 0
    for shift in range(0, 64, 7):
        byte = content[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise ValueError("a number has too many bytes")


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError("a page has a damaged header")
    return value


def _header(file: int, start: int) -> tuple[dict[int, Any], int]:
    """The fields of the header at an offset, and its length."""
    size = _USUAL
    while True:
        content = _Compact(os.pread(file, size, start))
        try:
            return content.struct(_DEPTH), content.position
        except IndexError:
            size *= 16
            if size > _MOST:
                raise ValueError("a page has no header") from None


class _Compact:
    """Reads Thrift's compact protocol, as far as headers of pages use it. Raises IndexError beyond the content's end.

    A field that is there twice is refused: which one counts depends on its type.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """The fields of a struct by number: integers, truth values and structs; None for others."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            if number in fields or not depth:
                raise ValueError("a page has a damaged header")
            fields[number] = self._value(head & 15, depth - 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 12:
            return self.struct(depth)
        if kind not in (3, 7, 8):  # a byte, a double, text
            raise ValueError("a page has a damaged header")
        length = {3: 1, 7: 8}.get(kind) or self._varint()
        self.position += length
        return None

    def _byte(self) -> int:
        self.position += 1
        return self._content[self.position - 1]

    def _varint(self) -> int:
        number, self.position = varint(self._content, self.position)
        return number

    def _integer(self) -> int:
        """In zigzag form: the sign is the lowest bit."""
        number = self._varint()
        return number >> 1 ^ -(number & 1)
