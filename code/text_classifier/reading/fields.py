"""Fields of a row to text, whatever type the file's format gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from text_classifier.reading.table import LONGEST_FIELD, MISSING

#: Maximum length of a label or a group, in characters.
LONGEST_LABEL = 200

#: What to do about bytes that are not UTF-8.
SET_ENCODING = "set encoding=windows-1252 if a Windows program wrote the file, else encoding=auto"


class BadRow(Exception):
    """A row that cannot be used, with the reason and a remedy."""

    def __init__(self, reason: str, remedy: str = "fix or remove the row") -> None:
        super().__init__(reason)
        self.remedy = remedy


class Unlabelled(BadRow):
    """A row without a label; with unlabelled=drop it is left out."""


def joined(texts: Sequence[Any], names: Sequence[str]) -> str:
    """The text of a row whose text fields are of any type, joined with spaces. Raises BadRow."""
    if all(value is MISSING for value in texts):
        raise BadRow(f"has no field {names[0]!r}")
    return " ".join(filter(None, (text(value, name) for value, name in zip(texts, names, strict=False))))


def text(value: Any, name: str) -> str:
    """A field as text; empty when it has no value. Raises BadRow."""
    if value is None or value is MISSING or value != value:  # NaN means no value in Parquet
        return ""
    if isinstance(value, dict | list | tuple):
        raise BadRow(f"has a {type(value).__name__} in column {name!r}", "replace it with a text or a number")
    content = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        content.encode()
    except UnicodeEncodeError as error:
        character = ord(content[error.start])
        if 0xDC80 <= character <= 0xDCFF:
            reason = f"is not UTF-8 in column {name!r} (byte 0x{character - 0xDC00:02x})"
            raise BadRow(reason, SET_ENCODING) from None
        raise BadRow(f"has an unpaired surrogate in column {name!r}") from None
    if "\0" in content:
        raise BadRow(f"has a NUL character in column {name!r}")
    if len(content) > LONGEST_FIELD:
        raise BadRow(f"has more than {LONGEST_FIELD:,} characters in column {name!r}")
    return content


def refuse_text(texts: Sequence[Any], names: Sequence[str]) -> None:
    """Raise BadRow for a text with a NUL character or too many characters, and name the field if it is a single one."""
    for value, name in zip(texts, names, strict=False):
        text(value, name)
    raise BadRow(f"has a text of more than {LONGEST_FIELD:,} characters")


def string(value: Any, name: str) -> str:
    """A label or a group: a short text, never empty. Raises BadRow."""
    if value is MISSING:
        raise Unlabelled(f"has no field {name!r}")
    content = text(value, name).strip()
    if not content:
        raise Unlabelled(f"has no value in column {name!r}", "fill it in or remove the row")
    if len(content) > LONGEST_LABEL:
        raise BadRow(
            f"has {len(content):,} characters in column {name!r}; a label or group has at most {LONGEST_LABEL}"
        )
    return content
