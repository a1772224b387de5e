"""Texts on disk: as many as it holds, with a few bytes of memory for each."""

from __future__ import annotations

import os
import tempfile
from array import array

import numpy as np

from text_classifier.contract.errors import PlatformError


class Spool:
    """A temporary file of texts in UTF-8, one behind the other. It is gone when the process ends, however it ends."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115 - it lives as long as its texts
        self._offsets = array("q", [0])

    def append(self, text: bytes) -> None:
        """Add a text behind the others. Raises PlatformError when the disk is full."""
        try:
            self._file.write(text)
        except OSError as error:
            raise _not_written(error) from None
        self._offsets.append(self._offsets[-1] + len(text))

    def flush(self) -> None:
        """Make all texts readable. Raises PlatformError when the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise _not_written(error) from None

    def read(self, row: int) -> str:
        """A text, read from disk."""
        start, end = self._offsets[row], self._offsets[row + 1]
        return os.pread(self._file.fileno(), end - start, start).decode()

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each text, int64 [rows]."""
        return np.diff(np.array(self._offsets, dtype=np.int64))


def _not_written(error: OSError) -> PlatformError:
    return PlatformError(
        f"the texts cannot be written to {tempfile.gettempdir()} ({error.strerror}); give the job a larger volume, or "
        "set TMPDIR to a folder with room for all texts"
    )
