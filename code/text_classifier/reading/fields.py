"""A field of a row as text, whatever the file's format has made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from text_classifier.reading.formats import MISSING
from text_classifier.reading.records import LONGEST_FIELD

#: A label or a group longer than this, in characters, is none.
LONGEST_LABEL = 200


class BadRow(Exception):
    """A row that cannot be used; says why and what to do."""

    def __init__(self, reason: str, remedy: str = "mend or remove the row") -> None:
        super().__init__(reason)
        self.remedy = remedy


def joined(texts: Sequence[Any], names: Sequence[str]) -> str:
    """The text of a row in which not every field is a plain string. Raises BadRow."""
    if all(value is MISSING for value in texts):
        raise BadRow(f"has no field {names[0]!r}")
    return " ".join(filter(None, (text(value, name) for value, name in zip(texts, names, strict=False))))


def text(value: Any, name: str) -> str:
    """A field as text; empty where there is no value. Raises BadRow."""
    if value is None or value is MISSING or value != value:  # NaN stands for no value in Parquet
        return ""
    if isinstance(value, dict | list):
        raise BadRow(f"has a {type(value).__name__} in column {name!r}", "put a text or a number there")
    found = str(value)
    try:
        found.encode()
    except UnicodeEncodeError as error:
        character = ord(found[error.start])
        if 0xDC80 <= character <= 0xDCFF:
            raise BadRow(
                f"is not UTF-8 in column {name!r} (byte 0x{character - 0xDC00:02x})", "convert the file to UTF-8"
            ) from None
        raise BadRow(f"has half a surrogate pair in column {name!r}") from None
    if "\0" in found:
        raise BadRow(f"has a NUL character in column {name!r}")
    if len(found) > LONGEST_FIELD:
        raise BadRow(f"has more than {LONGEST_FIELD:,} characters in column {name!r}")
    return found


def refuse_text(texts: Sequence[Any], names: Sequence[str]) -> None:
    """Say which field is to blame; together they may be too long though none is alone. Raises BadRow."""
    for value, name in zip(texts, names, strict=False):
        text(value, name)
    raise BadRow(f"has a text of more than {LONGEST_FIELD:,} characters")


def string(value: Any, name: str) -> str:
    """A label or a group: short, and never empty. Raises BadRow."""
    if value is MISSING:
        raise BadRow(f"has no field {name!r}")
    found = text(value, name).strip()
    if not found:
        raise BadRow(f"has no value in column {name!r}", "fill it in or remove the row")
    if len(found) > LONGEST_LABEL:
        raise BadRow(f"has {len(found):,} characters in column {name!r}, which is no label or group")
    return found
