"""Keeps secrets out of the log: what looks like a Hub token or an AWS access key is not printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

_SECRETS = re.compile(r"\b(hf_|AKIA|ASIA)[A-Za-z0-9]{16,}")


def redact(text: str) -> str:
    """The text with the secrets in it cut down to their first letters."""
    return _SECRETS.sub(r"\1***", text)


class _Redacted:
    """A text stream that redacts what is written; in all else the stream that it wraps."""

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
    """Redact all that this process prints from now on, log records and tracebacks too."""
    sys.stdout = _Redacted(sys.stdout)
    sys.stderr = _Redacted(sys.stderr)
