"""A bounded sample of data in S3, for the data check on this machine."""

from __future__ import annotations

import argparse
import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from launcher.aws import client
from launcher.plan import inputs, submission
from launcher.plan.s3 import Listing

#: Of files whose rows are lines, the first lines are enough. Others are taken whole, if they are small.
_LINES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
_CHUNK_BYTES = 1 << 20
_MAX_BYTES = 64 << 20
_MAX_OBJECTS = 20

#: Byte order marks, the longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


@contextmanager
def channels(options: argparse.Namespace) -> Iterator[dict[str, Path]]:
    """The channels of a job as paths on this machine: of those in S3, a sample in a temporary folder.

    Needs the listings of launcher.aws.sources. What is sampled, and what is left out, is printed.
    """
    with TemporaryDirectory(prefix="data-sample-") as folder:
        paths = inputs.local_paths(options)
        for name in inputs.s3_sources(options).keys() - {"model"}:
            listing = options.listings[name]
            if isinstance(listing, Exception):
                raise listing
            s3 = client.create("s3", submission.region_of(options))
            encoding = options.hyperparameters.get("encoding", "")
            if _download(s3, name, listing, options.check_rows, Path(folder, name), encoding):
                paths[name] = Path(folder, name)
        yield paths


def _download(s3: Any, name: str, listing: Listing, rows: int, folder: Path, encoding: str) -> bool:
    """Write a sample of about `rows` lines. Returns False if no object can be sampled."""
    taken = left = 0
    for file, size in listing.objects.items():
        if left <= 0 and taken:
            break
        has_lines = file.lower().endswith(_LINES)
        if taken == _MAX_OBJECTS or (not has_lines and size > _MAX_BYTES):
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        place = {"Bucket": listing.uri.bucket, "Key": listing.uri.folder + file}
        left = rows if not taken else left
        body = s3.get_object(**place)["Body"]
        with target.open("wb") as content:
            left -= _write_lines(body, content, left, encoding) if has_lines else _write_all(body, content, rows)
        body.close()
        taken += 1
    if taken:
        print(f"{name}: a sample of {taken} of {len(listing.objects):,} object(s) of {listing.uri}", flush=True)
    else:
        most = _MAX_BYTES >> 20
        print(f"{name}: not checked: every object of {listing.uri} is larger than {most} MB", flush=True)
    return bool(taken)


def _write_lines(body: Any, content: Any, rows: int, encoding: str) -> int:
    """Write whole rows of an object, at least `rows` lines of it if it has them. Returns about how many it wrote."""
    data, chunk = b"", b"more"
    while chunk and len(data) < _MAX_BYTES and data.count(b"\n") <= rows:
        chunk = body.read(_CHUNK_BYTES)
        data += chunk
    if chunk:
        data = _whole_rows(data, rows, _codec(data, encoding))
    content.write(data)
    return data.count(b"\n")


def _whole_rows(data: bytes, rows: int, codec: str) -> bytes:
    """The first rows of the beginning of a file.

    A line break in a quoted field does not end a row: a cut is made where the number of quotation marks is even.
    """
    try:
        text = data[: len(data) // 4 * 4].decode(codec, "surrogatepass")  # between characters of any size
    except UnicodeDecodeError:
        return data  # the check names the place
    lines = quotes = end = 0
    for line in text.split("\n")[:-1]:
        lines, quotes, end = lines + 1, quotes + line.count('"'), end + len(line) + 1
        if lines > rows and quotes % 2 == 0:
            break
    return text[:end].encode(codec, "surrogatepass") if end else data


def _codec(head: bytes, encoding: str) -> str:
    """UTF-16 or UTF-32, by its mark or the hyperparameter `encoding`; else Latin-1, in which bytes are characters.

    In other encodings the bytes of a line feed and of a quotation mark are those of ASCII.
    """
    if marked := next((codec for mark, codec in _MARKS if head.startswith(mark)), None):
        return marked
    try:
        named = codecs.lookup(encoding.strip()).name
    except LookupError:
        return "latin-1"
    if not named.startswith(("utf-16", "utf-32")):
        return "latin-1"
    return named if named.endswith("e") else f"{named}-le"


def _write_all(body: Any, content: Any, rows: int) -> int:
    """Write an object whose rows are not counted; it counts as all the rows that are wanted."""
    for chunk in body.iter_chunks(_CHUNK_BYTES):
        content.write(chunk)
    return rows
