from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest

from text_classifier.reading.zstd_frames import MAGIC, frame_starts, is_zstd

#: A frame whose content is skipped, in two forms.
SKIPPED = (b"\x50\x2a\x4d\x18\x03\0\0\0abc", b"\x5f\x2a\x4d\x18\0\0\0\0")


def block(content: bytes, *, kind: int = 0, is_last: bool = True) -> bytes:
    return (len(content) << 3 | kind << 1 | is_last).to_bytes(3, "little") + content


#: Frames by hand: a size of one byte and a checksum; a window, a dictionary's id of two bytes and a size of four.
FRAMES = [
    MAGIC + b"\x24\x05" + block(b"hello") + b"sum.",
    MAGIC + b"\x82\x00idsize" + block(b"one", is_last=False) + block(b"", is_last=True),
    MAGIC + b"\x20\x63" + (99 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"x",  # a run of 99 equal bytes
    *(pyarrow.compress(b"word " * count, codec="zstd", asbytes=True) for count in (0, 1, 70_000)),
]


def test_frames_are_found_behind_each_other_and_skipped_ones_are_passed_over(tmp_path: Path) -> None:
    content, starts = b"", []
    for number, frame in enumerate(FRAMES):
        content += SKIPPED[number % 2] * (number % 3)
        starts.append(len(content))
        content += frame
    (tmp_path / "a").write_bytes(content + SKIPPED[0])
    assert frame_starts(tmp_path / "a") == tuple(starts)
    for end in range(1, len(FRAMES[-1])):
        (tmp_path / "a").write_bytes(content[:-end])
        assert frame_starts(tmp_path / "a") == ()


@pytest.mark.parametrize("content", [b"", b"text", MAGIC, FRAMES[0] + b"text", SKIPPED[0][:-1]])
def test_what_is_no_whole_frames_has_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert frame_starts(tmp_path / "a") == ()


def test_zstd_is_known_by_its_first_bytes() -> None:
    assert is_zstd(FRAMES[0][:4]) and is_zstd(SKIPPED[0][:4]) and is_zstd(SKIPPED[1][:4])
    assert not is_zstd(b"") and not is_zstd(b"P*M") and not is_zstd(b"\x60\x2a\x4d\x18")
