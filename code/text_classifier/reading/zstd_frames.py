"""The frames of a zstd file, each compressed by itself: pzstd writes several, and so do tools that append.

https://datatracker.ietf.org/doc/html/rfc8878#section-3
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

#: First bytes of a frame.
MAGIC = b"\x28\xb5\x2f\xfd"

#: The same of a frame that is skipped, after a byte from 0x50 to 0x5f.
_SKIPPED = b"\x2a\x4d\x18"

#: Frames and blocks that are looked at. A block has up to 128 KB.
_MOST_PARTS = 1 << 20

#: Bytes of a dictionary's id and of the content's size, by their flags.
_ID_BYTES, _SIZE_BYTES = (0, 1, 2, 4), (0, 2, 4, 8)


def is_zstd(head: bytes) -> bool:
    """Whether a file that begins with these bytes is of zstd; pzstd begins with a frame that is skipped."""
    return head.startswith(MAGIC) or (head[1:4] == _SKIPPED and 0x50 <= head[0] <= 0x5F)


def frame_starts(path: Path) -> tuple[int, ...]:
    """The offsets of the frames with content; none if the file does not end with a frame, or has too many."""
    starts, size, parts = list[int](), path.stat().st_size, 0
    with path.open("rb") as file:
        while (start := file.tell()) < size and parts < _MOST_PARTS:
            parts += 1
            head = file.read(8)
            if len(head) < 8 or not is_zstd(head):
                return ()
            if not head.startswith(MAGIC):
                file.seek(int.from_bytes(head[4:], "little"), os.SEEK_CUR)
                continue
            starts.append(start)
            blocks = _skip_frame(file, start, head[4])
            if not blocks:
                return ()
            parts += blocks
        return tuple(starts) if file.tell() == size else ()


def _skip_frame(file: IO[bytes], start: int, flags: int) -> int:
    """Go to the end of a frame. Returns its blocks; 0 if it does not end, or has too many."""
    is_single = flags >> 5 & 1
    size_bytes = _SIZE_BYTES[flags >> 6] or is_single
    file.seek(start + 5 + (1 - is_single) + _ID_BYTES[flags & 3] + size_bytes)
    for blocks in range(1, _MOST_PARTS):
        block = int.from_bytes(head := file.read(3), "little")
        if len(head) < 3:
            break
        is_last, is_run = block & 1, block >> 1 & 3 == 1
        file.seek(1 if is_run else block >> 3, os.SEEK_CUR)
        if is_last:
            file.seek(4 if flags & 4 else 0, os.SEEK_CUR)  # a checksum
            return blocks
    return 0
