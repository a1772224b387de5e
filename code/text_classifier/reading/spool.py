"""Texts on disk, with eight bytes of memory per text."""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path
from typing import IO

import numpy as np

from text_classifier.contract.errors import PlatformError
from text_classifier.reading.strings import Strings, mapped


class Spool:
    """Concatenated texts in UTF-8, in a new file of `folder`.

    Without a folder it is a temporary file, which disappears when the process ends, however it ends.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        # The file lives as long as its texts.
        self._file = (folder / name).open("w+b", 1 << 20) if folder else tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115
        self.folder = folder or Path(tempfile.gettempdir())  # asked now: on a full disk, tempfile finds none
        self._offsets = array("q", [0])

    def append(self, text: bytes) -> None:
        """Add a text. Raises PlatformError when the disk is full."""
        self._write(text)
        self._offsets.append(self._offsets[-1] + len(text))

    def extend(self, content: bytes, lengths: np.ndarray) -> None:
        """Add the texts that `content` is composed of. Raises PlatformError when the disk is full."""
        self._write(content)
        self._offsets.frombytes((np.cumsum(lengths, dtype=np.int64) + self._offsets[-1]).tobytes())

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise not_written(error, self.folder) from None

    def strings(self) -> Strings:
        """All texts, after the last was added. Raises PlatformError when the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise not_written(error, self.folder) from None
        return Strings.joined(mapped(self._file), np.asarray(self._offsets))


def file_name(channel: str, kind: str) -> str:
    """The name of a file of prepared data: that of the `texts` or of the `ids` of a channel."""
    return f"{channel}.{kind}"


def write_all(file: IO[bytes], content: bytes | memoryview, folder: Path) -> None:
    """Write to a file of `folder`, which is not buffered. Raises PlatformError when the disk is full."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise not_written(error, folder) from None


def not_written(error: OSError, folder: Path) -> PlatformError:
    """The error that the disk of a folder is full."""
    return PlatformError(
        f"the texts cannot be written to {folder} ({error.strerror}); give the job a larger volume, or set TMPDIR to a "
        "folder with more space"
    )
