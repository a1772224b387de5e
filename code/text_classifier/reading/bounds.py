"""What a file may hold, since a small one may decode to more than the disk or the memory does."""

from __future__ import annotations

import shutil
from pathlib import Path

from text_classifier.contract.errors import DataError, PlatformError
from text_classifier.contract.limits import memory_limit

#: A file may decode to this many times its size, and to this many bytes in any case. gzip reaches 1,032 times.
TIMES, ALWAYS = 1_000, 1 << 30

#: Bytes of memory that a row takes at most, apart from its text: measured, from its file to the splits.
ROW_BYTES = 150

#: Bytes after which the disk is looked at again, and that must be free then.
STEP = 1 << 26


def require_decoded(name: str, size: int, decoded: int) -> None:
    """Raise DataError when `decoded` bytes are too many for a file, or a part of one, of `size` bytes."""
    if decoded > ALWAYS + TIMES * size:
        raise DataError(
            f"{name} decodes to more than {TIMES:,} times its size, like a decompression bomb; if its rows really "
            "are that repetitive, write them to a file that is not compressed"
        )


def require_memory(name: str, rows: int) -> None:
    """Raise PlatformError when the host has no memory for so many rows."""
    memory = memory_limit()
    if rows * ROW_BYTES > memory:
        raise PlatformError(
            f"{name} has {rows:,} rows, which need {rows * ROW_BYTES / 1e9:,.1f} GB of memory, and there are "
            f"{memory / 1e9:,.1f} GB; use an instance with more memory, or fewer rows"
        )


class DiskCheck:
    """Counts the bytes that are written to a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = 0

    def require(self, more: int) -> None:
        """Raise PlatformError when `more` bytes would leave little of the disk."""
        before, self._written = self._written, self._written + more
        if before // STEP == self._written // STEP:
            return
        free = shutil.disk_usage(self._folder).free
        if free - more < STEP:
            raise PlatformError(
                f"the unpacked data takes more than {self._written / 1e9:,.1f} GB, and {self._folder} has "
                f"{free / 1e9:,.1f} GB left; give the job a larger volume, or set TMPDIR to a folder with more space"
            )
