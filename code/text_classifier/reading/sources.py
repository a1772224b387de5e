"""The files of a channel, and the bytes in them: plain, gzip or zstd, in one pass from front to end."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import DataError, printable

#: Bytes read at once; also what the format of a file is recognized by.
BLOCK = 1 << 20

_ARCHIVES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PK\x05\x06": "an empty zip archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a": "a RAR archive",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
}


def files(channel: Path) -> list[tuple[Path, str]]:
    """The files of a channel, sub-folders included, with their names as messages say them, in the order of the names.

    `channel` may also be one file. Hidden files, and the `_SUCCESS` that Spark leaves, are no data. Raises DataError
    when there is none, and for a link that leads out of the channel: what it stands for would not be uploaded.
    """
    if channel.is_file():
        return [(channel, printable(channel.name))]
    home = channel.resolve()
    found = []
    for folder, subfolders, names in os.walk(channel):
        for path in (Path(folder, name) for name in [*subfolders, *names]):
            relative = path.relative_to(channel)
            if path.name.startswith(".") or path.name == "_SUCCESS":
                continue
            if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(home)):
                raise DataError(
                    f"{printable(f'{channel.name}/{relative}')} is a link out of the channel or to a folder; put the "
                    "files themselves there"
                )
            if path.is_file():
                found.append((path, printable(f"{channel.name}/{relative}")))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    if not found:
        raise DataError(f"the channel {channel.name!r} holds no file; give it a CSV, TSV, JSON or Parquet file")
    return sorted(found)


def blocks(path: Path, name: str) -> Iterator[bytes]:
    """The unpacked content of a file, a block at a time; an empty file has no block.

    Raises DataError when it cannot be read, is cut off, or is an archive.
    """
    try:
        with io.BufferedReader(io.FileIO(path), BLOCK) as raw:
            start = raw.peek(4)
            stream: Any = raw
            if start.startswith(b"\x1f\x8b"):
                stream = gzip.GzipFile(fileobj=raw)
            elif start.startswith(b"\x28\xb5\x2f\xfd"):
                import pyarrow

                stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw), "zstd")
            is_first = True
            while block := stream.read(BLOCK):
                if is_first:
                    _refuse_archive(block, name)
                    is_first = False
                yield block
    except EOFError:
        raise DataError(f"{name} is cut off: its gzip stream has no end; upload it again") from None
    except (OSError, zlib.error) as error:  # BadGzipFile and Arrow's errors are OSErrors
        raise DataError(f"{name} cannot be read ({error}); upload it again") from None


def _refuse_archive(block: bytes, name: str) -> None:
    kind = next((kind for magic, kind in _ARCHIVES.items() if block.startswith(magic)), None)
    if block[257:262] == b"ustar":
        kind = "a tar archive"
    if block.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        kind = "compressed twice"
    if kind:
        raise DataError(f"{name} is {kind}; unpack it, and give plain, gzip or zstd files of CSV, TSV, JSON or Parquet")
