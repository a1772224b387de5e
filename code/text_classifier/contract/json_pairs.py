"""A JSON object as pairs: a name that occurs twice stays, where json.loads takes the last value without a word."""

from __future__ import annotations

import json
from typing import Any


def json_pairs(text: str) -> list[tuple[str, Any]]:
    """The names and values of the object that a text spells. Raises ValueError and RecursionError."""
    objects: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        objects.append(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=keep)
    return objects[-1]  # the outer one ends last
