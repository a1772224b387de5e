"""Text of any encoding as UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from text_classifier.contract.errors import DataError


def as_utf8(content: Iterator[bytes], name: str, encoding: str) -> Iterator[bytes]:
    """The blocks of a file, its text as UTF-8 without a byte order mark; a file without text (Parquet) unchanged.

    Bytes that are not UTF-8 are left as they are: fields.py reports the row.
    """
    head = next(content, b"")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and not head.startswith(b"\xff\xff\xff\xff"):
        raise DataError(f"{name} is UTF-16 or not a text file; convert it to UTF-8")
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from content
