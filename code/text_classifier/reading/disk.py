"""The free disk, looked at while texts are unpacked: a small file may hold more than the disk does."""

from __future__ import annotations

import shutil
import tempfile

from text_classifier.contract.errors import PlatformError

#: Bytes after which the disk is looked at again, and that must be free then.
STEP = 1 << 26


class DiskCheck:
    """Counts the bytes that are written to the folder of temporary files."""

    def __init__(self) -> None:
        self._written = 0

    def require(self, more: int) -> None:
        """Raise PlatformError when `more` bytes would leave little of the disk."""
        before, self._written = self._written, self._written + more
        if before // STEP == self._written // STEP:
            return
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free - more < STEP:
            raise PlatformError(
                f"the data take more than {self._written / 1e9:,.1f} GB unpacked, and {folder} has {free / 1e9:,.1f} "
                "GB left; give the job a larger volume, or set TMPDIR to a folder with more space"
            )
