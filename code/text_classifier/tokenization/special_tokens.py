"""The special tokens that a tokenizer adds around a text, such as [CLS] and [SEP]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from text_classifier.contract.errors import SettingsError


def around(tokenizer: Callable[..., Mapping[str, Any]], setting: str, default: str) -> tuple[list[int], list[int]]:
    """The ids before and after a text.

    Raises SettingsError if that cannot be told; it names the `setting` that needs it, and the `default` that does not.
    """
    content: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer("a")["input_ids"]
    starts = [n for n in range(len(whole) - len(content) + 1) if whole[n : n + len(content)] == content]
    if not content or len(starts) != 1:
        raise SettingsError(
            f"{setting} needs a tokenizer that adds its special tokens at the ends of a text; set {default}, or choose "
            "another model"
        )
    return whole[: starts[0]], whole[starts[0] + len(content) :]
