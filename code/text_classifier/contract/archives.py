"""Reads tar archives that somebody else has made, with bounds on what tarfile takes into memory."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: Bytes that are read in one go: tarfile takes a member's extended header (pax, or a long name) as a whole.
MOST_HEADER_BYTES = 1 << 20

#: tarfile keeps each member, and a megabyte of gzip may hold two million.
MOST_MEMBERS = 10_000


class _Gzip(gzip.GzipFile):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(_bounded(size))


class _Plain(io.FileIO):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(_bounded(size)) or b""


def _bounded(size: int | None) -> int:
    if size is None or not 0 <= size <= MOST_HEADER_BYTES:
        raise tarfile.ReadError(f"a header of more than {MOST_HEADER_BYTES:,} bytes")
    return size


def members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of an archive, gzipped or not, each with its content if it is a regular file.

    The content has to be read in pieces, as shutil.copyfileobj does. Whether a name leads out of a folder is for the
    caller to check. Raises tarfile.TarError, OSError, EOFError or zlib.error for an archive that is damaged, which may
    show only after its last member, or exceeds the bounds.
    """
    with archive.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with (
        _Gzip(archive) if is_gzip else _Plain(archive) as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        for number, member in enumerate(tar):
            if number == MOST_MEMBERS:
                raise tarfile.ReadError(f"more than {MOST_MEMBERS:,} files and folders")
            yield member, tar.extractfile(member) if member.isfile() else None
        # tarfile stops at the block that ends the archive; gzip has its checksum after the padding.
        stream.read(MOST_HEADER_BYTES)
        if stream.read(1):
            raise tarfile.ReadError(f"more than {MOST_HEADER_BYTES:,} bytes after its end")
