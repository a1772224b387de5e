"""Thrift's compact protocol, read and written without a schema, to change what the metadata of a Parquet file say.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


@dataclass
class Value:
    """A value and its type: a number, bytes, a list of values, or a dict of a struct's fields by number."""

    kind: int
    value: Any

    def __getitem__(self, key: int) -> Any:
        """The field or element with this number."""
        return self.value[key]


def read(content: bytes, position: int = 0) -> tuple[Value, int]:
    """The struct at a position, and the position after it."""
    reader = _Reader(content, position)
    return reader.value(STRUCT), reader.position


def write(value: Value) -> bytes:
    """The bytes of a value; of a truth value none, as its type has it."""
    if value.kind in (TRUE, FALSE):
        return b""
    if value.kind == BYTE:
        return bytes([value.value])
    if value.kind in (I16, I32, I64):
        return _varint((value.value << 1) ^ (value.value >> 70))
    if value.kind == DOUBLE:
        return struct.pack("<d", value.value)
    if value.kind == BINARY:
        return _varint(len(value.value)) + value.value
    if value.kind == LIST:
        kind = value.value[0].kind if value.value else I32
        return bytes([0xF0 | kind]) + _varint(len(value.value)) + b"".join(map(write, value.value))
    fields = b"".join(
        bytes([field.kind]) + _varint(number << 1) + write(field) for number, field in sorted(value.value.items())
    )
    return fields + b"\0"


def numbers(value: Value) -> Iterator[Value]:
    """All integers in a value."""
    if value.kind in (I16, I32, I64):
        yield value
    parts = value.value.values() if value.kind == STRUCT else value.value if value.kind == LIST else ()
    for part in parts:
        yield from numbers(part)


def _varint(number: int) -> bytes:
    number &= (1 << 70) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


class _Reader:
    def __init__(self, content: bytes, position: int) -> None:
        self._content, self.position = content, position

    def _take(self, count: int) -> bytes:
        self.position += count
        return self._content[self.position - count : self.position]

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._take(1)[0]) > 127:
            number, shift = number | (byte & 127) << shift, shift + 7
        return number | byte << shift

    def _integer(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)

    def value(self, kind: int) -> Value:
        if kind in (TRUE, FALSE):
            return Value(kind, kind == TRUE)
        if kind == BYTE:
            return Value(kind, self._take(1)[0])
        if kind in (I16, I32, I64):
            return Value(kind, self._integer())
        if kind == DOUBLE:
            return Value(kind, struct.unpack("<d", self._take(8))[0])
        if kind == BINARY:
            return Value(kind, self._take(self._varint()))
        if kind == LIST:
            head = self._take(1)[0]
            count = self._varint() if head >> 4 == 15 else head >> 4
            return Value(kind, [self.value(head & 15) for _ in range(count)])
        assert kind == STRUCT, kind
        fields: dict[int, Value] = {}
        number = 0
        while head := self._take(1)[0]:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self.value(head & 15)
        return Value(kind, fields)
