"""Data that is in S3 already: its URI, and what lies there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from text_classifier.contract.data_files import is_needed

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_S3 = re.compile(r"s3[an]?:/", re.IGNORECASE)
_ELSEWHERE = re.compile(r"(https?|gs|abfss?|hdfs|ftp)://|arn:", re.IGNORECASE)


@dataclass(frozen=True)
class S3Uri:
    """An object, or all objects whose keys begin with `key`, as SageMaker reads S3Uri."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def folder(self) -> str:
        """The part of the keys that is no part of the names in the channel."""
        return self.key[: self.key.rfind("/") + 1]

    @property
    def as_folder(self) -> S3Uri:
        """With a slash at the end, so that `reviews` does not name `reviews-old/` too."""
        return self if not self.key or self.key.endswith("/") else S3Uri(self.bucket, f"{self.key}/")

    @property
    def guess(self) -> S3Uri:
        """What the URI means as long as nobody has looked: the name of an object has an extension."""
        return self if PurePosixPath(self.key).suffix else self.as_folder


@dataclass(frozen=True)
class Listing:
    """The objects that a job needs, by their names in the channel, with their sizes in bytes."""

    uri: S3Uri
    objects: Mapping[str, int]
    #: False when there are more objects than were listed.
    is_complete: bool = True

    @property
    def size(self) -> int:
        """Bytes of the listed objects together."""
        return sum(self.objects.values())

    def __str__(self) -> str:
        least = "" if self.is_complete else "at least "
        return f"{least}{len(self.objects):,} object(s), {self.size:,} bytes"


def location(text: str) -> Path | S3Uri:
    """A path on this machine, or an S3 URI. Raises ValueError for the URI of anything else."""
    if _S3.match(text):
        scheme, _, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not BUCKET.fullmatch(bucket):
            raise ValueError(f"{text!r} is not the URI of a folder or object in S3; write it like s3://bucket/folder/")
        return S3Uri(bucket, key)
    if _ELSEWHERE.match(text):
        raise ValueError(f"{text!r} cannot be read; give a path on this machine, or a URI like s3://bucket/folder/")
    return Path(text)


def needed(uri: S3Uri, sizes: Mapping[str, int]) -> dict[str, int]:
    """The objects of these keys that a job needs, by their names in the channel."""
    found = {}
    for key, size in sizes.items():
        name = key.removeprefix(uri.folder)
        if size and not key.endswith("/") and (key == uri.key or is_needed(name.split("/"))):
            found[name] = size
    return found
