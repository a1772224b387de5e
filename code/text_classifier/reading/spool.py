"""Texts on disk, with eight bytes of memory per text."""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path

import numpy as np

from text_classifier.contract.errors import PlatformError
from text_classifier.reading.strings import Strings, mapped


class Spool:
    """A file of concatenated texts in UTF-8: a new one at `path`, or without it a temporary one, which disappears when
    the process ends, however it ends.

    Raises PlatformError when the disk is full.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            # It lives as long as its texts.
            self._file = path.open("w+b", 1 << 20) if path else tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115
        except OSError as error:
            raise not_written(error) from None
        self._offsets = array("q", [0])

    def append(self, text: bytes) -> None:
        """Add a text. Raises PlatformError when the disk is full."""
        try:
            self._file.write(text)
        except OSError as error:
            raise not_written(error) from None
        self._offsets.append(self._offsets[-1] + len(text))

    def extend(self, content: bytes, lengths: np.ndarray) -> None:
        """Add the texts that `content` is composed of. Raises PlatformError when the disk is full."""
        try:
            self._file.write(content)
        except OSError as error:
            raise not_written(error) from None
        self._offsets.frombytes((np.cumsum(lengths, dtype=np.int64) + self._offsets[-1]).tobytes())

    def strings(self) -> Strings:
        """All texts, after the last was added. Raises PlatformError when the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise not_written(error) from None
        return Strings.joined(mapped(self._file), np.asarray(self._offsets))


def not_written(error: OSError) -> PlatformError:
    """The error that the disk is full."""
    return PlatformError(
        f"the texts cannot be written to {tempfile.gettempdir()} ({error.strerror}); give the job a larger volume, or "
        "set TMPDIR to a folder with more space"
    )
