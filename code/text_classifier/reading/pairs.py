"""A pair of texts as one string: the first text, a NUL character, which no text of a file has, and the second text."""

from __future__ import annotations

SEPARATOR = "\0"


def pair(first: str, second: str) -> str:
    """Both texts as one string."""
    return first + SEPARATOR + second


def segments(text: str) -> tuple[str, str]:
    """The two texts of a pair."""
    first, _, second = text.partition(SEPARATOR)
    return first, second


def readable(text: str) -> str:
    """A text as people read it, which may be a pair."""
    return text.replace(SEPARATOR, " | ")
