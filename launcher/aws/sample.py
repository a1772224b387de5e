"""A bounded sample of data in S3, for the data check on this machine."""

from __future__ import annotations

import argparse
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
            if _download(s3, name, listing, options.check_rows, Path(folder, name)):
                paths[name] = Path(folder, name)
        yield paths


def _download(s3: Any, name: str, listing: Listing, rows: int, folder: Path) -> bool:
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
            left -= _write_lines(body, content, left) if has_lines else _write_all(body, content, rows)
        body.close()
        taken += 1
    what = f"a sample of {taken} of {len(listing.objects):,} object(s)" if taken else "not checked: no object is small"
    print(f"{name}: {what} of {listing.uri}", flush=True)
    return bool(taken)


def _write_lines(body: Any, content: Any, rows: int) -> int:
    """Write whole rows of an object, at least `rows` lines of it if it has them. Returns the lines written.

    A line break in a quoted field does not end a row: a cut is made where the number of quotation marks is even.
    """
    data, end = b"", 0
    while len(data) < _MAX_BYTES and (chunk := body.read(_CHUNK_BYTES)):
        data += chunk
        if data.count(b"\n") > rows:
            break
    else:
        content.write(data)
        return data.count(b"\n")
    lines = quotes = 0
    for line in data.splitlines(keepends=True):
        lines, quotes, end = lines + 1, quotes + line.count(b'"'), end + len(line)
        if lines > rows and quotes % 2 == 0:
            break
    else:
        end = data.rfind(b"\n") + 1
    content.write(data[:end])
    return lines


def _write_all(body: Any, content: Any, rows: int) -> int:
    """Write an object whose rows are not counted; it counts as all the rows that are wanted."""
    for chunk in body.iter_chunks(_CHUNK_BYTES):
        content.write(chunk)
    return rows
