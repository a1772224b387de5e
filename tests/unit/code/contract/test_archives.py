from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from text_classifier.contract import archives
from text_classifier.contract.archives import members


def archive(path: Path, mode: str, *entries: tarfile.TarInfo, **options: object) -> Path:
    with tarfile.open(path, mode, **options) as tar:  # type: ignore[call-overload]
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return path


def entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made


def length(content: IO[bytes]) -> int:
    copied = io.BytesIO()
    shutil.copyfileobj(content, copied)
    return len(copied.getvalue())


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_come_with_their_content(tmp_path: Path, mode: str) -> None:
    path = archive(tmp_path / "a", mode, entry("d", kind=tarfile.DIRTYPE), entry("d/" + "long" * 50, 3_000_000))
    read = [(member.name, content and length(content)) for member, content in members(path)]
    assert read == [("d", None), ("d/" + "long" * 50, 3_000_000)]


def pax(path: Path) -> None:
    archive(path, "w:gz", entry("a"), format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 2_000_000})


def long_name(path: Path) -> None:
    archive(path, "w:gz", entry("x" * 2_000_000), format=tarfile.GNU_FORMAT)


def header_of_a_terabyte(path: Path) -> None:
    header = entry("a", kind=tarfile.XHDTYPE)
    header.size = 1 << 40
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))


@pytest.mark.parametrize("make", [pax, long_name, header_of_a_terabyte])
def test_a_header_of_any_size_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a")
    with pytest.raises(tarfile.ReadError, match="a header of more than 1,048,576 bytes"):
        list(members(tmp_path / "a"))


def test_an_archive_of_millions_of_members_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    archive(tmp_path / "a", "w", *(entry(str(number)) for number in range(4)))
    with pytest.raises(tarfile.ReadError, match="more than 3 files and folders"):
        list(members(tmp_path / "a"))


def read_all(path: Path) -> list[int]:
    return [length(content) for _, content in members(path) if content]


def test_a_changed_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(100_000)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        file.addfile(entry("a", len(content)), io.BytesIO(content))
    packed = bytearray(gzip.compress(tar.getvalue(), 0))  # stored: any byte may change
    (tmp_path / "a").write_bytes(packed)
    assert read_all(tmp_path / "a") == [len(content)]
    packed[len(packed) // 2] ^= 1
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(gzip.BadGzipFile, match="CRC check failed"):
        read_all(tmp_path / "a")


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_what_follows_the_end_is_bounded(tmp_path: Path, size: int) -> None:
    plain = archive(tmp_path / "a", "w", entry("a")).read_bytes()
    end = plain.rindex(b"ustar") - 257 + 512  # of the header of an empty file
    (tmp_path / "a").write_bytes(gzip.compress(plain[:end] + bytes(512 + size)))
    if size > 1 << 20:
        with pytest.raises(tarfile.ReadError, match="more than 1,048,576 bytes after its end"):
            list(members(tmp_path / "a"))
    else:
        assert len(list(members(tmp_path / "a"))) == 1


def test_a_damaged_archive_is_an_error_of_the_format(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", "w:gz", entry("a", 100_000))
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-20])
    (tmp_path / "other").write_bytes(gzip.compress(b"no archive" * 100))
    (tmp_path / "empty").touch()
    for name in ("cut", "other", "empty"):
        with pytest.raises((tarfile.TarError, EOFError)):
            read_all(tmp_path / name)
