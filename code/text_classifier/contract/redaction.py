"""Redacts tokens, keys and passwords in everything that a process prints, and escapes what would control a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

#: Tokens that their first letters tell: of Hugging Face, AWS, GitHub, GitLab, OpenAI and Slack, and JSON Web Tokens.
_TOKENS = re.compile(
    r"\b(hf_|AKIA|ASIA|gh[opsu]_)[A-Za-z0-9]{16,}|\b(github_pat_|glpat-|sk-|xox[abpr]-|eyJ)(?=[a-z_.-]*[0-9A-Z])[\w.-]{16,}"
)

#: A value after a name that says what it is, and a password in an address.
_NAMED = re.compile(
    r"(?i)\b([a-z_]*(?:passw(?:or)?d|secret(?:_access)?_key|secret|api_?key|session_token)[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s\"',;]{6,}"
)
_IN_ADDRESS = re.compile(r"(://[^\s/:@]+:)[^\s/@]+(?=@)")

#: Control characters but for tab, line feed and carriage return; those that reorder text; lone surrogates, which no
#: stream can encode.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def redact(text: str) -> str:
    """The text with each secret replaced by its prefix and `***`."""
    for pattern in (_TOKENS, _NAMED, _IN_ADDRESS):
        text = pattern.sub(lambda match: f"{match[match.lastindex or 0]}***", text)
    return text


def has_token(text: str) -> bool:
    """Whether the text holds a token that its first letters tell."""
    return _TOKENS.search(text) is not None


def without_control(text: str) -> str:
    """The text with control characters escaped: a library may print a name from the data as it is."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class _Redacted:
    """A text stream that changes what is written as `install` says; all else is delegated to the wrapped stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(without_control(redact(text)))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """Redact secrets and escape control characters in everything that this process prints from now on, log records and
    tracebacks included. What a stream cannot encode (PYTHONIOENCODING) is escaped, too."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = _Redacted(sys.stdout)
    sys.stderr = _Redacted(sys.stderr)
