"""The decompressed content of a file: plain, gzip or zstd, read in one pass."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import DataError

#: Bytes per read; the format of a file is detected from its first block.
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


def blocks(path: Path, name: str) -> Iterator[bytes]:
    """The decompressed content of a file, block by block; an empty file has none.

    Raises DataError when the file cannot be read, is truncated, or is an archive.
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
        raise DataError(f"{name} is truncated: its gzip stream does not end; upload it again") from None
    except (OSError, zlib.error) as error:  # BadGzipFile and Arrow's errors are OSErrors
        raise DataError(f"{name} cannot be read ({error}); upload it again") from None


def _refuse_archive(block: bytes, name: str) -> None:
    kind = next((kind for magic, kind in _ARCHIVES.items() if block.startswith(magic)), None)
    if block[257:262] == b"ustar":
        kind = "a tar archive"
    if block.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        kind = "compressed twice"
    if kind:
        raise DataError(f"{name} is {kind}; unpack or convert it to CSV, TSV, JSON or Parquet (plain, gzip or zstd)")
