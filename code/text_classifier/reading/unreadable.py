"""Kinds of files that are not read, detected from their first bytes: each is named with the way out."""

from __future__ import annotations

import re

from text_classifier.contract.errors import DataError

_UNPACK = "unpack or convert it to CSV, TSV, JSON or Parquet (plain, gzip or zstd)"
_CONVERT = "write its rows as CSV, JSON lines or Parquet"

#: First bytes of a file, what it is, and what to do.
_KINDS = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data", "run `git lfs pull` first"),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ", "compressed with xz", _UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", _UNPACK),
    (b"\xff\x06\x00\x00sNaPpY", "compressed with snappy", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a", "a RAR archive", _UNPACK),
    (b"\x1f\x8b", "compressed twice", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed twice", _UNPACK),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "save it as CSV UTF-8"),
    (b"SQLite format 3\x00", "an SQLite database", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"ORC", "an ORC file", _CONVERT),
    (b"FEA1", "a Feather file of version 1", "write it as Parquet"),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", _CONVERT),
    (b"%PDF", "a PDF document", _CONVERT),
    (b"{\\rtf", "a rich text document", _CONVERT),
)

#: What text files do not hold; ORC and PDF begin with letters that a column's name may begin with too.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")

#: pickle's protocols 2 to 5.
_PICKLE = re.compile(rb"\x80[\x02-\x05]")

_PAGE = re.compile(rb"\s*<(\?xml|!doctype html|html|error)\b", re.IGNORECASE)
_S3_CODE = re.compile(rb"<Code>(\w{1,60})</Code>")
_S3_ERROR = re.compile(rb"\s*(<\?xml[^>]{,100}>\s*)?<Error>\s*<Code>")


def refuse_unreadable(head: bytes, name: str, *, may_be_page: bool = False) -> None:
    """Raise DataError if a file that begins with `head` is of a kind that is not read.

    With `may_be_page` a web page is read; an error of S3 is not.
    """
    if kind := _kind(head, _S3_ERROR if may_be_page else _PAGE):
        raise DataError(f"{name} is {kind[0]}; {kind[1]}")


def _kind(head: bytes, page: re.Pattern[bytes]) -> tuple[str, str] | None:
    if head.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in head[:4096] or b"xl/" in head[:4096]):
        return "an Excel workbook or another Office document", "save it as CSV UTF-8"
    for magic, kind, remedy in _KINDS:
        if head.startswith(magic) and (magic not in (b"ORC", b"%PDF") or _BINARY.search(head[:4096])):
            return kind, remedy
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if _PICKLE.match(head):
        return "a pickle, which can run code when it is read", _CONVERT
    if page.match(head):
        code = _S3_CODE.search(head[:4096])
        said = f" (it says {code[1].decode()})" if code else ""
        return f"an XML or HTML page{said}, probably from a failed download", "download the data again"
    return None
