"""The files of the channels: which of them hold rows, and of which split."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from text_classifier.contract.data_files import is_data, split_name
from text_classifier.contract.errors import DataError, listed, printable
from text_classifier.reading.permissions import forbidden_below, require_permission
from text_classifier.reading.table import column_name
from text_classifier.reading.table_logs import commits_of, removed_files

#: How Hive and Spark write the folder of rows without a value in the partition column.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

#: After the name of an empty file, which may have been meant to have rows.
_EMPTY = " (empty)"


@dataclass(frozen=True, order=True)
class SourceFile:
    """A file of a channel."""

    path: Path
    name: str  #: for messages: channel and path in it
    parts: tuple[str, ...] = field(default=(), compare=False)  #: of the path in the channel
    host: int | None = field(default=None, compare=False)  #: index of the host that reads it, of a sharded channel
    bytes: int | None = field(default=None, compare=False)  #: None: those of `path`

    @property
    def size(self) -> int:
        """The size of the file in bytes, which may lie on another host."""
        return self.path.stat().st_size if self.bytes is None else self.bytes

    @property
    def partition(self) -> dict[str, str]:
        """The columns that its folders' names give, as in `label=positive/part-0.csv` (Hive, Spark's partitionBy)."""
        pairs = (folder.partition("=") for folder in self.parts[:-1] if "=" in folder)
        return {
            column_name(unquote(column)): "" if value == _NO_VALUE else unquote(value)
            for column, _, value in pairs
            if column
        }


#: Folders in one another below a channel. Python's walk through them ends at a thousand.
MOST_NESTED = 64


@dataclass(frozen=True)
class Source:
    """The files that hold the rows of a split."""

    name: str  #: the channel's
    files: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()  #: what was passed over, and why

    @property
    def is_sharded(self) -> bool:
        """Whether each file lies on one host only."""
        return self.files[0].host is not None


def source(channel: Path) -> Source:
    """The files of a channel, subfolders included, sorted by path; or the single file `channel`.

    Raises DataError when no file may hold rows, and as `listing` does.
    """
    if channel.is_file():
        return Source(channel.name, (SourceFile(channel, printable(channel.name), (channel.name,)),))
    found = listing(channel)
    return select(channel, [source_file(channel, parts, size) for parts, size in found.files], found.commits)


@dataclass(frozen=True)
class Listing:
    """What lies in a channel's folder on one host."""

    files: list[tuple[tuple[str, ...], int]]  #: path in the channel, part by part, and bytes if it may hold rows
    commits: dict[str, dict[str, str]]  #: by path of a Delta table in the channel: table_logs.commits_of


def listing(channel: Path) -> Listing:
    """The files of a channel, subfolders included; none where it has no folder.

    Raises DataError for a folder that may not be read, for folders nested more than MOST_NESTED deep, for a pipe or
    a device, and for a link to nothing or out of the channel: its target would not be uploaded.
    """
    try:
        return _listing(channel)
    except PermissionError as error:
        raise forbidden_below(channel, error) from None


def _listing(channel: Path) -> Listing:
    root = channel.resolve()
    found = Listing([], {})
    for folder, subfolders, names in os.walk(channel, onerror=require_permission):
        at = Path(folder).relative_to(channel)
        if len(at.parts) > MOST_NESTED:
            raise DataError(
                f"the channel {channel.name!r} has folders nested more than {MOST_NESTED} deep; move the files up"
            )
        subfolders.sort()
        commits = commits_of(Path(folder), _name(channel, at))
        if commits is not None:
            found.commits[str(at)] = commits
        for path in (Path(folder, name) for name in [*subfolders, *names]):
            parts = path.relative_to(channel).parts
            if is_data(parts) and path.is_symlink():
                _require_file_below(path, _name(channel, Path(*parts)), root)
            if path.is_dir():
                continue
            if is_data(parts) and not path.is_file():
                raise DataError(f"{_name(channel, Path(*parts))} is a pipe or a device; write its rows to a file")
            found.files.append((parts, path.stat().st_size if is_data(parts) else 0))
    return found


def _require_file_below(link: Path, name: str, root: Path) -> None:
    """Raise DataError for a link out of the channel's folder `root`, to a folder, or to nothing."""
    target = Path(os.path.realpath(link))  # unlike Path.resolve, also of links in a circle
    if link.is_dir() or not target.is_relative_to(root):
        raise DataError(f"{name} is a link out of the channel or to a folder; replace it with the files themselves")
    if not link.exists():
        raise DataError(f"{name} is a link to nothing; replace it with the file itself, or remove it")


def source_file(channel: Path, parts: Sequence[str], size: int, host: int | None = None) -> SourceFile:
    """The file of a channel with this path in it, and so many bytes, which the host with this index reads."""
    return SourceFile(channel.joinpath(*parts), printable("/".join((channel.name, *parts))), tuple(parts), host, size)


def select(channel: Path, found: Iterable[SourceFile], commits: Mapping[str, Mapping[str, str]]) -> Source:
    """The files that may hold rows, of those found in a channel; `commits` as in Listing.

    Raises DataError when there are none, and for a table whose log does not tell its files.
    """
    removed: set[Path] = set()
    for at, of_table in commits.items():
        removed |= removed_files(channel / at, _name(channel, Path(at)), of_table)
    files: list[SourceFile] = []
    passed_over: list[str] = []
    for file in sorted(found, key=_folder_by_folder):
        inner = printable("/".join(file.parts))
        if not is_data(file.parts):
            passed_over.append(inner)
        elif file.path in removed:
            passed_over.append(f"{inner} (no longer part of the Delta table)")
        elif file.size:
            files.append(file)
        else:
            passed_over.append(f"{inner}{_EMPTY}")
    if not files:
        only = f", only {listed(passed_over, 3)}" if passed_over else ""
        raise DataError(
            f"the channel {channel.name!r} has no files with rows{only}; add a CSV, TSV, JSON or Parquet file whose "
            "name does not begin with _ or ."
        )
    level = "WARNING: " if any(name.endswith(_EMPTY) for name in passed_over) else ""
    notes = (f"{level}{channel.name} has files without rows, which are skipped: {listed(passed_over)}",)
    return Source(channel.name, tuple(sorted(files)), notes if passed_over else ())


def _folder_by_folder(file: SourceFile) -> list[tuple[bool, str]]:
    """Sort key: the files of a folder before those of its subfolders."""
    *folders, name = file.parts
    return [*((True, folder) for folder in folders), (False, name)]


def _name(channel: Path, inner: Path) -> str:
    """A folder or a file in a channel, for messages."""
    return printable(str(Path(channel.name, inner)))


def sources(channels: Mapping[str, Path], find: Callable[[Path], Source] = source) -> dict[str, Source]:
    """The files of each split. `find` finds those of a channel.

    Where all files of a channel are named as splits (`train.csv`, `validation.csv` and `test.csv` in the channel
    `train`), they are those splits, unless a split has a channel of its own; a note says so. Raises DataError where
    only some of the files are named so.
    """
    found = {name: find(channel) for name, channel in channels.items()}
    for name, whole in list(found.items()):
        by_split: dict[str | None, list[SourceFile]] = {}
        for file in whole.files:
            by_split.setdefault(split_name(file.parts), []).append(file)
        others = [split for split in by_split if split not in (name, None)]
        if name not in by_split or not others:
            continue
        if None in by_split:
            raise DataError(
                f"{by_split[None][0].name} is in the same channel as {by_split[name][0].name} and "
                f"{by_split[others[0]][0].name}; move the rows of each split to a channel of its own (train, "
                "validation, test)"
            )
        found[name] = Source(name, tuple(by_split[name]), (*whole.notes, _split_note(name, by_split, channels)))
        for split in others:
            if split is not None and split not in channels and name == "train":
                found[split] = Source(split, tuple(by_split[split]))
    return found


def _split_note(channel: str, by_split: Mapping[str | None, Sequence[SourceFile]], channels: Mapping[str, Path]) -> str:
    """Says how the files of a channel were divided."""
    uses = []
    for split, files in by_split.items():
        names = listed(["/".join(file.parts) for file in files], 3)
        is_used = split == channel or (channel == "train" and split not in channels)
        uses.append(f"{names} {'is' if len(files) == 1 else 'are'} {f'the {split} split' if is_used else 'not used'}")
    return f"the files of the channel {channel!r} are named as splits: {'; '.join(uses)}"
