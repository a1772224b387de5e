"""The hyperparameter `class_weights`: the name of a method, or the weights of some classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from text_classifier.contract.errors import SettingsError, quoted
from text_classifier.contract.json_pairs import json_pairs

#: Ways to compute the weights from the numbers of rows.
METHODS = ("balanced", "effective")

#: The largest weight that can be given.
HEAVIEST = 1_000_000

_JSON_EXAMPLE = '{"spam": 5, "fraud": 20}'


def given_weights(text: str) -> dict[str, float]:
    """The weights in `spam:5,fraud:20`, or in a JSON object, in which a class may hold a comma; empty for `none` and
    the name of a method.

    Raises SettingsError.
    """
    if text.strip() in ("", "none", *METHODS):
        return {}
    weights: dict[str, float] = {}
    for name, value in _pairs_of_json(text) if text.strip().startswith("{") else _pairs(text):
        weight = _number(value)
        if weight is None or not 0 < weight <= HEAVIEST:
            raise SettingsError(
                f"class_weights has the weight {quoted(value)} for the class {quoted(name)}; give a number above 0, "
                f"{HEAVIEST:,} at most"
            )
        if name in weights:
            raise SettingsError(f"class_weights names the class {quoted(name)} twice; remove one of them")
        weights[name] = weight
    if not weights:
        raise SettingsError(
            f"class_weights={quoted(text)} names no class; set it to none, or write it as in {_JSON_EXAMPLE}"
        )
    return weights


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for part in text.split(","):
        name, colon, value = part.rpartition(":")
        if not colon or not name.strip():
            raise SettingsError(
                f"class_weights={quoted(text)} is not valid; set it to none, {', '.join(METHODS)}, or weights such as "
                "spam:5,fraud:20"
            )
        yield name.strip(), value.strip()


def _pairs_of_json(text: str) -> Iterable[tuple[str, Any]]:
    try:
        pairs = json_pairs(text)
        if any(isinstance(value, dict | list | bool | None) for _, value in pairs):
            raise ValueError
        return pairs
    except (ValueError, RecursionError):
        raise SettingsError(
            f"class_weights={quoted(text)} is not a JSON object of weights; write it as in {_JSON_EXAMPLE}"
        ) from None


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, str) and "_" in value else float(value)  # Python reads 1_0 as 10
    except (ValueError, OverflowError):
        return None
