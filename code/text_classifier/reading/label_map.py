"""The hyperparameter `label_map`, and the normalization and order of labels."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from text_classifier.contract.errors import SettingsError, listed, printable
from text_classifier.contract.json_pairs import json_pairs

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*-\s*({_NUMBER})\s*")
_EXAMPLE = "1-3=negative;4,5=positive"
_JSON_EXAMPLE = '{"1-3": "negative", "4": "positive", "5": "positive"}'

_WHOLE_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.0*)?")

#: Characters that are not seen and change no word: zero-width space, word joiner, byte order mark.
_ZERO_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF))


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included, that belong to the class `index`."""

    low: float
    high: float
    index: int

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high


@dataclass(frozen=True)
class LabelMap:
    """Class names in the order of their indices, and the labels and ranges that map to each class."""

    classes: tuple[str, ...]
    index_of: dict[str, int]
    ranges: tuple[Range, ...] = ()

    def index(self, label: str) -> int:
        """The class index of a label; -1 for a label that is not in the map."""
        label = normalize(label)
        index = self.index_of.get(label)
        value = number(label)
        if index is None and value is not None:
            index = next((span.index for span in self.ranges if value in span), None)
        return -1 if index is None else index

    @cached_property
    def label_list(self) -> str:
        """The labels of the map, listed for messages."""
        return listed(sorted(self.index_of, key=natural), most=20)


def parse_label_map(text: str) -> LabelMap | None:
    """Parse `1-3=negative;4,5=positive`, or a JSON object from labels to classes; None for an empty text.

    Classes keep the order of the text. `1-3` maps every number from 1 to 3, and the label `1-3` itself. Raises
    SettingsError.
    """
    if not text.strip():
        return None
    index_of: dict[str, int] = {}
    ranges: list[Range] = []
    classes: list[str] = []
    for label, name in _pairs_of_json(text) if text.strip().startswith("{") else _pairs(text):
        label = normalize(label)
        if name not in classes:
            classes.append(name)
        if index_of.setdefault(label, classes.index(name)) != classes.index(name):
            raise SettingsError(f"label_map puts {label!r} into two classes; remove it from one of them")
        if match := _RANGE.fullmatch(label):
            low, high = map(float, match.groups())
            if low > high:
                raise SettingsError(f"label_map has the range {label!r}; write the smaller number first")
            ranges.append(Range(low, high, classes.index(name)))
    if len(classes) < 2:
        raise SettingsError(f"label_map {text!r} has fewer than two classes; write it as in {_EXAMPLE}")
    _require_disjoint(index_of, ranges)
    return LabelMap(tuple(classes), index_of, tuple(ranges))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, (part.strip() for part in text.split(";"))):
        labels, equals, name = (piece.strip() for piece in part.rpartition("="))
        if not (labels and equals and name):
            raise SettingsError(
                f"label_map has the invalid part {part!r}; write it as in {_EXAMPLE}, or as a JSON object if a label "
                "has a comma, a semicolon or an equals sign"
            )
        for label in labels.split(","):
            yield label, name


def _pairs_of_json(text: str) -> Iterator[tuple[str, str]]:
    try:
        pairs = json_pairs(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"label_map is not JSON ({error}); write it as in {_JSON_EXAMPLE}") from None
    for label, name in pairs:
        if not isinstance(name, str | int | float) or not label.strip() or not str(name).strip():
            raise SettingsError(f"label_map maps {label!r} to {name!r}; write it as in {_JSON_EXAMPLE}")
        yield label, str(name).lower() if isinstance(name, bool) else str(name).strip()


def _require_disjoint(index_of: dict[str, int], ranges: list[Range]) -> None:
    points = [Range(n, n, index) for label, index in index_of.items() if (n := number(label)) is not None]
    spans = sorted([*points, *ranges], key=lambda span: (span.low, span.high))
    reach: list[Range] = []  # the range that goes furthest, and that which does so of the other classes
    for span in spans:
        if any(span.low in earlier and earlier.index != span.index for earlier in reach):
            raise SettingsError(f"label_map puts {span.low:g} into two classes; remove it from one of them")
        by_class = {each.index: each for each in sorted([*reach, span], key=lambda each: each.high)}
        reach = sorted(by_class.values(), key=lambda each: each.high)[-2:]


def normalize(label: str) -> str:
    """One spelling per label.

    `5`, ` 5 `, `"5"`, `="5"` (Excel's way to keep a number a text), `+5`, `5.` and `5.0` are the same label, and so are
    `true` and `TRUE`; a zero-width character counts for nothing, and an accent has one form (NFC).
    """
    if not label.isascii():
        label = unicodedata.normalize("NFC", label.translate(_ZERO_WIDTH))
    label = label.strip()
    if len(label) > 3 and label.startswith('="') and label.endswith('"'):
        label = label[2:-1].strip()
    if len(label) > 2 and label[0] == label[-1] == '"':
        label = label[1:-1].strip()
    if match := _WHOLE_NUMBER.fullmatch(label):
        sign, digits = match.groups()
        return ("" if sign == "+" or not digits.strip("0") else sign) + digits
    return label.lower() if label.lower() in ("true", "false") else label


def variants(names: Sequence[str]) -> list[str]:
    """Notes on classes whose names differ only in case, white space or the spelling of a number."""
    alike: dict[str, list[str]] = {}
    for name in names:
        value = number(name)
        key = " ".join(name.casefold().split()) if value is None else str(value)
        alike.setdefault(key, []).append(name)
    notes = []
    for same in alike.values():
        if len(same) > 1:
            listing = " and ".join(repr(printable(name)) for name in same)
            what = "case or spaces" if number(same[0]) is None else "the spelling of a number"
            notes.append(f"the classes {listing} differ only in {what}; label_map merges them")
    return notes


def natural(text: str) -> list[tuple[int, float, str]]:
    """Sort key of natural order: 10 after 2, and -1 before 0."""
    value = number(text)
    if value is not None:
        return [(0, value, text)]
    parts = re.split(r"(\d+)", text)
    return [(0, float(part), part) if part.isdecimal() else (1, 0.0, part) for part in parts if part]


def number(text: str) -> float | None:
    """The finite number that a text spells; None when it is not one, as for `1_0`, which Python reads as 10."""
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
