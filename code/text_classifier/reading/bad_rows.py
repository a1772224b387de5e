"""Bad rows: reported three at a time, or counted and left out."""

from __future__ import annotations

from text_classifier.contract.errors import DataError

#: So many bad rows are named in a message.
NAMED = 3

#: With bad_rows=skip, more bad rows than this share of all end the job: then it is the file that is bad.
TOLERATED_SHARE = 0.01


class BadRows:
    """The bad rows of a channel. With `skips` they are counted, else they end the job."""

    def __init__(self, *, skips: bool) -> None:
        self._skips = skips
        self.count = 0
        self._first: list[tuple[str, str]] = []
        self._remedy = ""

    def add(self, place: str, reason: str, remedy: str = "mend or remove the row") -> None:
        """Count one. Raises DataError at the third, unless bad rows are skipped."""
        self.count += 1
        self._remedy = self._remedy or remedy
        if len(self._first) < NAMED:
            self._first.append((place, reason))
        if self.count == NAMED and not self._skips:
            self._refuse("")

    def end_file(self) -> None:
        """Raises DataError when there was a bad row, unless bad rows are skipped."""
        if self.count and not self._skips:
            self._refuse("")

    def end_channel(self, name: str, good: int) -> None:
        """Raises DataError when too many were skipped."""
        if self.count > TOLERATED_SHARE * (self.count + good):
            share = self.count / (self.count + good)
            self._refuse(f"; bad_rows=skip tolerates 1 % bad rows, and {name} has {self.count} ({share:.1%})")

    @property
    def examples(self) -> list[str]:
        """The first ones, each as a sentence."""
        return [f"{place} {reason}" for place, reason in self._first]

    def _refuse(self, why: str) -> None:
        (place, reason), *others = self._first
        also = "".join(f"; also {place} {reason}" for place, reason in others)
        raise DataError(f"{place} {reason}; {self._remedy}{also}{why}")
