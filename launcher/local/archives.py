"""Unpacks the archives that a job writes."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from text_classifier.contract.archives import members


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive into `directory`, with the owner and default permissions of this process.

    Raises ValueError for a damaged archive, and for a member that is not a regular file or folder, or that lies outside
    `directory`.
    (tarfile's filter="data" does the same, but is missing from Debian 12's Python 3.11.2.)
    """
    try:
        _unpack(archive, directory)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:  # other OSErrors are of the disk
        raise ValueError(f"{archive.name} is damaged: {error}".splitlines()[0]) from None


def _unpack(archive: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for member, content in members(archive):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or (content is None and not member.isdir()):
            raise ValueError(f"{member.name!r} in {archive.name} is not a file or folder inside the archive")
        target = directory / path
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)
