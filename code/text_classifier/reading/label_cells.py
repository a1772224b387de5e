"""Lists of labels, also where a CSV cell holds one as text: JSON, Python, NumPy, or Label Studio's choices."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from text_classifier.reading.fields import BadRow

#: Characters of a cell that is parsed as a list.
LONGEST_LIST = 100_000

#: Lists in one another that a cell may begin with. The parsers' own limit depends on the version of Python.
MOST_NESTED = 20

#: NumPy prints no commas: `[0 1 1]` and `['a' 'b']`.
_NUMPY_NUMBERS = re.compile(r"\[\s*-?\d+\.?(\s+-?\d+\.?)+\s*\]")
_NUMPY_WORDS = re.compile(r"\[\s*'[^']*'(\s+'[^']*')+\s*\]")

#: The key under which Label Studio keeps the labels of a task.
_CHOICES = "choices"


def labels_in(value: Any, column: str) -> list[Any] | None:
    """The labels in a list, or in a text that spells one; None for a single label. Raises BadRow."""
    if isinstance(value, str):
        value = _parsed(value.strip())
    if isinstance(value, dict) and isinstance(value.get(_CHOICES), list):
        value = value[_CHOICES]
    if not isinstance(value, list):
        return None
    labels: list[Any] = []
    for part in value:
        if isinstance(part, dict) and isinstance(part.get(_CHOICES), list):
            labels += part[_CHOICES]
        elif isinstance(part, float) and not part.is_integer():
            raise BadRow(f"has a list with the number {part:g} in column {column!r}", "give labels, not probabilities")
        else:
            labels.append(part)
    return labels


def _parsed(text: str) -> Any:
    """The list or object that a text spells; None when it spells none."""
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}") or len(text) > LONGEST_LIST:
        return None
    if text.startswith("[" * (MOST_NESTED + 1)):
        return None
    if _NUMPY_NUMBERS.fullmatch(text) or _NUMPY_WORDS.fullmatch(text):
        text = re.sub(r"(?<=[\d.'])\s+(?=[-\d'])", ", ", text)
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def only_label(value: Any, column: str) -> Any:
    """The label of a row that has one; a list must hold exactly one. Raises BadRow."""
    labels = labels_in(value, column)
    if labels is None:
        return value
    if len(labels) == 1:
        return labels[0]
    raise BadRow(f"has {len(labels)} labels in column {column!r}", "set task=multi_label, or keep one label a row")


def is_multi_hot(labels: Sequence[Any]) -> bool:
    """Whether a list may mark labels by their positions: two or more numbers, each 0 or 1."""
    return len(labels) > 1 and all(not isinstance(label, str) and label in (0, 1) for label in labels)
