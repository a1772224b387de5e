"""The files of a channel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from text_classifier.contract.errors import DataError, printable

#: How Hive and Spark write the folder of rows without a value in the partition column.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, order=True)
class SourceFile:
    """A file of a channel."""

    path: Path
    name: str  #: for messages: channel and path in it
    partition: Mapping[str, str] = field(default_factory=dict, compare=False)
    #: columns that the names of its folders give, as in `label=positive/part-0.csv` (Hive, Spark's partitionBy)


def files(channel: Path) -> list[SourceFile]:
    """The files of a channel, subfolders included, sorted by path.

    `channel` may also be a single file. Hidden files and Spark's `_SUCCESS` are ignored. Raises DataError when there
    is no file, and for a link that leads out of the channel: its target would not be uploaded.
    """
    if channel.is_file():
        return [SourceFile(channel, printable(channel.name))]
    root = channel.resolve()
    paths = []
    for folder, subfolders, names in os.walk(channel):
        for path in (Path(folder, name) for name in [*subfolders, *names]):
            relative = path.relative_to(channel)
            if path.name.startswith(".") or path.name == "_SUCCESS":
                continue
            if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
                raise DataError(
                    f"{printable(f'{channel.name}/{relative}')} is a link out of the channel or to a folder; replace "
                    "it with the files themselves"
                )
            if path.is_file():
                paths.append(SourceFile(path, printable(f"{channel.name}/{relative}"), _partition(relative)))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    if not paths:
        raise DataError(f"the channel {channel.name!r} has no files; add a CSV, TSV, JSON or Parquet file")
    return sorted(paths)


def _partition(relative: Path) -> dict[str, str]:
    pairs = (folder.partition("=") for folder in relative.parts[:-1] if "=" in folder)
    return {unquote(column): "" if value == _NO_VALUE else unquote(value) for column, _, value in pairs if column}
