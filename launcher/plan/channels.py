"""The files of a channel and their hash, which is their key in S3: the same data is uploaded only once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from text_classifier.contract.data_files import is_needed
from text_classifier.contract.errors import UserError

#: Hex digits of the SHA-256 used in the key.
_HASH_DIGITS = 32
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Channel:
    """The files of a channel by their names in S3, and one hash of all names and contents."""

    files: Mapping[str, Path]
    content_hash: str

    @classmethod
    def from_path(cls, path: Path) -> Channel:
        """A single file, or a folder with everything below it."""
        return cls.from_files(files_of(path))

    @classmethod
    def from_files(cls, files: Mapping[str, Path]) -> Channel:
        """These files, by their names in the channel."""
        total = hashlib.sha256()
        for name, file in sorted(files.items()):
            total.update(f"{_sha256(file)} {name}\n".encode())
        return cls(files, total.hexdigest()[:_HASH_DIGITS])

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.stat().st_size for file in self.files.values())


def files_of(path: Path) -> dict[str, Path]:
    """A single file, or all files below a folder, by their names in the channel."""
    return {path.name: path} if path.is_file() else dict(_files_below(path))


def needed_files(path: Path) -> dict[str, Path]:
    """As `files_of`, without the files that a job does not need; a single file is never passed over."""
    files = files_of(path)
    if path.is_file():
        return files
    return {name: file for name, file in files.items() if is_needed(name.split("/")) and file.stat().st_size}


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files, also those behind links; a link to a folder above itself is passed over.

    Raises UserError for what would be missing from the channel: a folder that may not be read, a link to nothing, and a
    pipe or a device.
    """
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for directory, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here = above.pop(directory, frozenset()) | {_identity(directory)}
        folders[:] = [name for name in folders if _identity(os.path.join(directory, name)) not in here]
        above |= {os.path.join(directory, name): here for name in folders}
        for name in names:
            file = Path(directory, name)
            inner = file.relative_to(folder)
            if file.is_file():
                yield inner.as_posix(), file
            elif is_needed(inner.parts) and not file.exists():
                raise UserError(f"the link {file} points to nothing; replace it with the file itself, or remove it")
            elif is_needed(inner.parts):
                raise UserError(f"{file} is a pipe or a device; write its rows to a file")


def _refuse(error: OSError) -> None:
    """Raise the error of a folder that os.walk would pass over."""
    if not isinstance(error, PermissionError):
        raise error
    raise UserError(f"the folder {error.filename} cannot be read ({error.strerror}); change its permissions")


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _sha256(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
