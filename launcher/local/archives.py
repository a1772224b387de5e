"""Unpacks the archives that a job writes."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive into `directory`, with the owner and default permissions of this process.

    Raises ValueError for a member that is not a regular file or folder, or that lies outside `directory`.
    (tarfile's filter="data" does the same, but is missing from Debian 12's Python 3.11.2.)
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                raise ValueError(f"{archive}: {member.name!r} is not a file or folder inside the archive")
            target = directory / path
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None, member.name
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)
