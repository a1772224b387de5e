"""Where data is: a path on this machine, or a URI in S3, and what lies there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from text_classifier.contract.data_files import is_needed

BUCKET = re.compile(r"(?!.*\.\.)(?!\d+(\.\d+){3}$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: `s3a` and `s3n` are Hadoop's names for the same place.
_S3 = re.compile(r"s3[an]?://(?P<bucket>[^/]+)/?(?P<key>.*)", re.IGNORECASE | re.DOTALL)
_FILE = re.compile(r"file:(//localhost(?=/)|//|(?=/))", re.IGNORECASE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]+://|s3[an]?:/|arn:", re.IGNORECASE)
#: Other ways to name an object in S3: the URI with too few or too many slashes, an ARN, and the URLs of a browser.
_ALSO_S3 = re.compile(
    r"(s3[an]?:/+|arn:aws[a-z-]*:s3:::|https?://s3[.-][a-z0-9.-]*amazonaws\.[a-z.]+/(?=.)"
    r"|https?://(?P<host>[a-z0-9.-]+?)\.s3[.-][a-z0-9.-]*amazonaws\.[a-z.]+/)(?P<rest>[^?#]*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class S3Uri:
    """An object, or all objects whose keys begin with `key`, as SageMaker reads S3Uri."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def folder(self) -> str:
        """The prefix of the keys that is stripped to get names in the channel."""
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


def path(text: str) -> Path:
    """A path on this machine, in which `~` is the home folder."""
    return Path(os.path.expanduser(text))


def location(text: str) -> Path | S3Uri:
    """A path on this machine, or an S3 URI. Raises ValueError for the URI of anything else."""
    uri = text.strip(" \t\r\n'\"")
    if (found := _S3.fullmatch(uri)) and BUCKET.fullmatch(found["bucket"]):
        return S3Uri(found["bucket"], found["key"])
    if found := _FILE.match(uri):
        rest = uri[found.end() :]
        return path(rest if os.path.exists(rest) else unquote(rest))
    if not _ELSEWHERE.match(uri):
        return path(text)
    raise ValueError(f"{text!r} {_instead(uri)}")


def _instead(uri: str) -> str:
    """What to write instead of a URI that cannot be read."""
    if ":accesspoint/" in uri:
        return "is an access point; give its alias, as in s3://my-access-point-abc123-s3alias/folder/"
    if found := _ALSO_S3.fullmatch(uri.partition("?")[0]):
        meant = unquote("/".join(filter(None, (found["host"], found["rest"]))))
        if BUCKET.fullmatch(meant.partition("/")[0]):
            return f"is not an S3 URI; write s3://{meant}"
    if uri.lower().startswith("s3"):
        return "is not the URI of a folder or object in S3; write it like s3://bucket/folder/"
    return "cannot be read; give a path on this machine, or a URI like s3://bucket/folder/"


def needed(uri: S3Uri, sizes: Mapping[str, int]) -> dict[str, int]:
    """The objects of these keys that a job needs, by their names in the channel."""
    found = {}
    for key, size in sizes.items():
        name = key.removeprefix(uri.folder)
        if size and not key.endswith("/") and (key == uri.key or is_needed(name.split("/"))):
            found[name] = size
    return found
