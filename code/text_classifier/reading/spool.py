"""Texts on disk, with eight bytes of memory per text."""

from __future__ import annotations

import os
import tempfile
from array import array

import numpy as np

from text_classifier.contract.errors import PlatformError


class Spool:
    """A temporary file of concatenated texts in UTF-8. It disappears when the process ends, however it ends."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115 - it lives as long as its texts
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

    def flush(self) -> None:
        """Make all texts readable. Raises PlatformError when the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise not_written(error) from None

    def read(self, row: int) -> str:
        """The text of a row, read from disk."""
        start, end = self._offsets[row], self._offsets[row + 1]
        return os.pread(self._file.fileno(), end - start, start).decode()


def not_written(error: OSError) -> PlatformError:
    """The error that the disk is full."""
    return PlatformError(
        f"the texts cannot be written to {tempfile.gettempdir()} ({error.strerror}); give the job a larger volume, or "
        "set TMPDIR to a folder with more space"
    )
