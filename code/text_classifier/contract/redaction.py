"""Redacts Hugging Face tokens and AWS access keys in everything that a process prints."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

_SECRETS = re.compile(r"\b(hf_|AKIA|ASIA)[A-Za-z0-9]{16,}")


def redact(text: str) -> str:
    """The text with each secret replaced by its prefix and `***`."""
    return _SECRETS.sub(r"\1***", text)


class _Redacted:
    """A text stream that redacts what is written; everything else is delegated to the wrapped stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(redact(text))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """Redact everything that this process prints from now on, log records and tracebacks included."""
    sys.stdout = _Redacted(sys.stdout)
    sys.stderr = _Redacted(sys.stderr)
