"""The decompressed content of a file: plain, gzip or zstd, read in one pass."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from text_classifier.contract.errors import DataError
from text_classifier.reading.unreadable import refuse_unreadable

#: Bytes per read; the format of a file is detected from its first block.
BLOCK = 1 << 20


def blocks(path: Path, name: str, first: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The decompressed content of a file, block by block; an empty file has none. Of a plain file the bytes from
    `first` to `end`.

    Raises DataError when the file cannot be read, is truncated, or is of a kind that holds no rows.
    """
    try:
        with io.BufferedReader(io.FileIO(path), BLOCK) as raw:
            if first or end is not None:
                yield from _range(raw, first, end)
                return
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
                    refuse_unreadable(block, name)
                    is_first = False
                yield block
    except EOFError:
        raise DataError(f"{name} is truncated: its gzip stream does not end; upload it again") from None
    except (OSError, zlib.error) as error:  # BadGzipFile and Arrow's errors are OSErrors
        raise DataError(f"{name} cannot be read ({error}); upload it again") from None


def is_compressed(path: Path) -> bool:
    """Whether a file is gzip or zstd as a whole."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


def _range(raw: IO[bytes], start: int, end: int | None) -> Iterator[bytes]:
    raw.seek(start)
    left = math.inf if end is None else end - start
    while left and (block := raw.read(int(min(left, BLOCK)))):
        left -= len(block)
        yield block
