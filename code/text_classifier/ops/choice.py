"""The environment variable TEXT_OPS, which chooses between native operations and those of libraries."""

from __future__ import annotations

import functools
import os

from text_classifier.contract.errors import SettingsError

VARIABLE = "TEXT_OPS"
#: Native where it computes the same, natively or not at all, or never natively.
CHOICES = ("auto", "native", "reference")


def choice() -> str:
    """The value of TEXT_OPS. Raises SettingsError."""
    value = os.environ.get(VARIABLE) or "auto"
    if value not in CHOICES:
        raise SettingsError(f"{VARIABLE}={value} in the environment is not one of {', '.join(CHOICES)}; correct it")
    return value


def reason_of(error: Exception) -> str:
    """The first line of an error, for a WARNING: what NVRTC and g++ say has more."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@functools.cache
def warn_once(text: str) -> None:
    """Print a line, unless this process has printed it before."""
    print(text, flush=True)
