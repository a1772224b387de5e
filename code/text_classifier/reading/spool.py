"""Texts on disk, with 16 bytes of memory per text: a file to which all processes that read a channel append."""

from __future__ import annotations

import os
import tempfile
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from text_classifier.contract.errors import PlatformError
from text_classifier.reading.batch import Batch
from text_classifier.reading.strings import Strings, mapped


class Appender:
    """Appends texts to a file in `folder`, as other processes may do at the same time."""

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self.folder = folder  #: for messages
        self._end = Path(path).open("ab", buffering=0)  # noqa: SIM115 - until `close`

    def append(self, content: bytes) -> int:
        """Write the content. Returns where it begins. Raises PlatformError when the disk is full."""
        try:
            # A write is atomic. It is short when the disk becomes full; the rest might then follow what another process
            # has written, so all is written again, or fails.
            while content and self._end.write(content) < len(content):
                pass
        except OSError as error:
            raise not_written(error, self.folder) from None
        return self._end.tell() - len(content)

    def store(self, batch: Batch) -> Batch:
        """Write the content of a batch. Returns the batch without it. Raises PlatformError when the disk is full."""
        return replace(batch, content=b"", starts=batch.starts + self.append(batch.content))

    def close(self) -> None:
        """Close the file."""
        self._end.close()


class Spool(Appender):
    """Texts in UTF-8, in a new file of `folder`.

    Without a folder it is a temporary file, which disappears when the process ends, however it ends.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        # The file lives as long as its texts.
        self._file = (folder / name).open("w+b") if folder else tempfile.TemporaryFile()  # noqa: SIM115
        # The folder is asked for now: on a full disk, tempfile finds none.
        super().__init__(f"/proc/{os.getpid()}/fd/{self._file.fileno()}", folder or Path(tempfile.gettempdir()))
        self._starts, self._ends = array("q"), array("q")

    def load(self, batch: Batch) -> Batch:
        """A batch of which the content was stored, with its content."""
        start = int(batch.starts[0]) if len(batch) else 0
        content = os.pread(self._file.fileno(), int(batch.lengths.sum()), start)
        return replace(batch, content=content, starts=batch.starts - start)

    def add(self, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Add texts that are in the file: where each begins, and its bytes; int64 [texts]."""
        self._starts.frombytes(starts.tobytes())
        self._ends.frombytes((starts + lengths).tobytes())

    def strings(self) -> Strings:
        """All texts that were added, in order."""
        return Strings(mapped(self._file), np.asarray(self._starts), np.asarray(self._ends))


def file_name(channel: str, kind: str) -> str:
    """The name of a file of prepared data: that of the `texts` or of the `ids` of a channel."""
    return f"{channel}.{kind}"


def not_written(error: OSError, folder: Path) -> PlatformError:
    """The error that the disk of a folder is full."""
    return PlatformError(
        f"the texts cannot be written to {folder} ({error.strerror}); give the job a larger volume, or set TMPDIR to a "
        "folder with more space"
    )
