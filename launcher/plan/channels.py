"""The files of a channel, and the hash that is their place in S3, so that the same data is sent once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Digits of the SHA-256 that stand in the key.
_HASH_DIGITS = 32
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Channel:
    """The files of a channel by the names they have in S3, and the hash of names and contents together."""

    files: Mapping[str, Path]
    content: str

    @property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files.values())


def read(path: Path) -> Channel:
    """Read a file, or a folder with all that is below it."""
    files = {path.name: path} if path.is_file() else dict(_files_below(path))
    total = hashlib.sha256()
    for name, file in sorted(files.items()):
        total.update(f"{_sha256(file)} {name}\n".encode())
    return Channel(files, total.hexdigest()[:_HASH_DIGITS])


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    for directory, _, names in os.walk(folder, followlinks=True):
        for name in names:
            file = Path(directory, name)
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file


def _sha256(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
