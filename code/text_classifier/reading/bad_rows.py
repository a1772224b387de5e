"""Rows that cannot be read: they end the job with up to three examples, or are skipped and counted."""

from __future__ import annotations

from text_classifier.contract.errors import DataError

#: Bad rows named in a message.
NAMED = 3

#: Maximum fraction of bad rows with bad_rows=skip: with more, it is the file that is wrong.
TOLERATED_SHARE = 0.01


class BadRows:
    """The bad rows of a channel: counted with `skips`, else an error."""

    def __init__(self, *, skips: bool) -> None:
        self.skips = skips
        self.count = 0
        self._first: list[tuple[str, str]] = []
        self._remedy = ""

    def add(self, place: str, reason: str, remedy: str = "fix or remove the row") -> None:
        """Count a bad row. Raises DataError at the third, unless bad rows are skipped."""
        self.count += 1
        self._remedy = self._remedy or remedy
        if len(self._first) < NAMED:
            self._first.append((place, reason))
        if self.count == NAMED and not self.skips:
            self._refuse("")

    def end_file(self) -> None:
        """Raise DataError when there was a bad row, unless bad rows are skipped."""
        if self.count and not self.skips:
            self._refuse("")

    def end_channel(self, name: str, good: int) -> None:
        """Raise DataError when too many rows of the channel `name`, which has `good` other rows, were skipped."""
        if self.count > TOLERATED_SHARE * (self.count + good):
            share = self.count / (self.count + good)
            self._refuse(f"; bad_rows=skip accepts up to 1 % bad rows, and {name} has {self.count} ({share:.1%})")

    @property
    def examples(self) -> list[str]:
        """The first bad rows, each as place and reason."""
        return [f"{place} {reason}" for place, reason in self._first]

    def _refuse(self, why: str) -> None:
        (place, reason), *rest = self._first
        also = "".join(f"; also {place} {reason}" for place, reason in rest)
        raise DataError(f"{place} {reason}; {self._remedy}{also}{why}")
