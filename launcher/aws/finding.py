"""The result of one check of doctor."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True)
class Finding:
    """The result of a check. `text` includes the remedy unless `level` is OK."""

    check: str
    level: str
    text: str
