"""The fast path of files with separated fields: a block of lines that has no oddity is split at C speed."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from text_classifier.reading.dialect import Dialect
from text_classifier.reading.table import LONGEST_FIELD

#: ASCII characters that str.strip removes.
_BLANKS = bytes(byte for byte in range(128) if chr(byte).isspace())


def clean_fields(block: bytes, dialect: Dialect, width: int, starts: Set[bytes]) -> list[list[bytes]] | None:
    """The fields of each line of a block; None for a block that must be read record by record.

    So must one with bytes that are not UTF-8, a NUL, a field that begins with a quote, a lone carriage return, another
    number of fields than `width`, a blank line, or a line whose first field is one of `starts`, as a header's is.
    """
    if len(block) >= LONGEST_FIELD or b"\0" in block or not _is_utf8(block):
        return None
    delimiter = dialect.delimiter.encode()
    if dialect.is_quoted and _has_quoted_field(block, delimiter, escaped=dialect.has_backslashes):
        return None
    if b"\r" in block:
        block += b"\n"
        if block.count(b"\r") != block.count(b"\r\n"):
            return None
        block = block.replace(b"\r\n", b"\n")[:-1]
    rows = [line.split(delimiter) for line in block.split(b"\n")]
    if any(len(row) != width for row in rows):
        return None
    first_fields = {row[0] for row in rows}
    if not first_fields.isdisjoint(starts):
        return None
    if any(map(_is_blank, first_fields)) and any(all(map(_is_blank, row)) for row in rows):
        return None
    return rows


def _is_utf8(block: bytes) -> bool:
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def _has_quoted_field(block: bytes, delimiter: bytes, *, escaped: bool) -> bool:
    """Whether a quote may begin a field; also true for some that do not, if the delimiter is not ASCII."""
    characters = np.frombuffer(block, np.uint8)
    before = characters[np.flatnonzero(characters == ord('"')) - 1]  # of the first character the last one
    begins = bool(np.isin(before, (ord("\n"), delimiter[-1])).any()) or block.startswith(b'"')
    return begins or (escaped and b'\\"' in block)


def _is_blank(field: bytes) -> bool:
    rest = field.strip(_BLANKS)
    return not rest or (not rest.isascii() and not rest.decode().strip())
