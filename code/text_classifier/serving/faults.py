"""Faults of the server in the log: each once, however many requests meet it."""

from __future__ import annotations

from text_classifier.contract.errors import first_line, print_traceback


class Faults:
    """Remembers what it has logged."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, error: Exception) -> None:
        """Log the traceback of the error that is handled, unless one of the same kind and place was logged."""
        if (line := first_line(error)) not in self._logged:
            self._logged.add(line)
            print_traceback()
