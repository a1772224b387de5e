"""The decompressed content of a file: plain, gzip or zstd, read in one pass."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from text_classifier.contract.errors import DataError, PlatformError
from text_classifier.reading.permissions import forbidden
from text_classifier.reading.table import WHOLE, Part
from text_classifier.reading.unreadable import refuse_unreadable
from text_classifier.reading.zstd_frames import is_zstd

#: Bytes per read; the format of a file is detected from its first block.
BLOCK = 1 << 20


def blocks(path: Path, name: str, part: Part = WHOLE, *, may_be_page: bool = False) -> Iterator[bytes]:
    """The decompressed content of a part of a file, block by block; an empty file has none.

    Raises DataError when the file cannot be read, is truncated, or is of a kind that holds no rows, and PlatformError
    as require_pyarrow does. With `may_be_page` a web page holds rows.
    """
    try:
        with io.BufferedReader(io.FileIO(path), BLOCK) as raw:
            kind = compression(raw.peek(4))
            if kind == "zstd":
                require_pyarrow(name)
            if not part.is_first or part.end is not None:
                yield from (
                    _frames(raw, part) if kind == "zstd" else _read(_Range(raw, part.start + part.skip, part.end))
                )
                return
            stream: Any = raw
            if kind == "gzip":
                stream = gzip.GzipFile(fileobj=raw)
            elif kind == "zstd":
                stream = _decompressed(raw)
            is_first = True
            while block := stream.read(BLOCK):
                if is_first:
                    refuse_unreadable(block, name, may_be_page=may_be_page)
                    is_first = False
                yield block
    except EOFError:
        raise DataError(f"{name} is truncated: its gzip stream does not end; upload it again") from None
    except PermissionError as error:
        raise forbidden(name, error) from None
    except (OSError, zlib.error) as error:  # BadGzipFile and Arrow's errors are OSErrors
        raise DataError(f"{name} cannot be read ({error}); upload it again") from None


def compression(head: bytes) -> str:
    """How a file that begins with these bytes is compressed as a whole: "gzip", "zstd" or not at all."""
    return "gzip" if head.startswith(b"\x1f\x8b") else "zstd" if is_zstd(head) else ""


def require_pyarrow(name: str) -> None:
    """Raise PlatformError without pyarrow, which need not be installed where train.py checks data outside the image."""
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise PlatformError(f"{name} cannot be read without pyarrow; run `pip install pyarrow`") from None


def _decompressed(file: Any) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")


def _read(stream: Any) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _frames(raw: IO[bytes], part: Part) -> Iterator[bytes]:
    """The content of a part of a file of several frames."""
    skip, more = part.skip, part.more
    for block in _read(_decompressed(_Range(raw, part.start, part.end))):
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))
    if more:
        for block in _read(_decompressed(_Range(raw, part.end or 0, None))):
            yield block[:more]
            more -= len(block)
            if more <= 0:
                return


class _Range(io.RawIOBase):
    """The bytes of a file from `start` to `end`."""

    def __init__(self, raw: IO[bytes], start: int, end: int | None) -> None:
        raw.seek(start)
        self._raw = raw
        self._left = math.inf if end is None else end - start

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        content = self._raw.read(int(min(size, self._left)))
        self._left -= len(content)
        return content
