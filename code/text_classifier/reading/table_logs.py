"""Tables whose log says which of their files are current: Delta is read, Hudi refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from urllib.parse import unquote

from text_classifier.contract.data_files import DELTA_LOG, HUDI_LOG
from text_classifier.contract.errors import DataError

_REMEDY = "write the current rows of the table as plain Parquet files"


def commits_of(folder: Path, name: str) -> dict[str, str] | None:
    """The commits in the Delta log of `folder`, for messages `name`, by the names of their files; None without a log.

    Raises DataError for a commit that cannot be read, and for a Hudi table.
    """
    if (folder / HUDI_LOG).is_dir():
        raise DataError(f"{name} is a Hudi table, whose files hold older versions of rows too; {_REMEDY}")
    log = folder / DELTA_LOG
    if not log.is_dir():
        return None
    commits = {}
    for path in sorted(log.glob("*.json")):
        try:
            commits[path.name] = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise _unreadable(name, path.name) from None
    return commits


def removed_files(folder: Path, name: str, commits: Mapping[str, str]) -> Set[Path]:
    """The files below `folder`, for messages `name`, that these commits say are no longer part of its Delta table.

    Raises DataError when that cannot be told: a log that begins with a checkpoint, or deletion vectors.
    """
    if not commits or min(commits).removesuffix(".json").strip("0"):
        raise DataError(f"{name} is a Delta table whose log does not begin with its first commit; {_REMEDY}")
    removed: set[Path] = set()
    for file in sorted(commits):
        try:
            actions = [json.loads(line) for line in commits[file].splitlines() if line.strip()]
            for action in actions:
                if action.get("add", {}).get("deletionVector"):
                    raise DataError(f"{name} is a Delta table with deletion vectors; {_REMEDY}")
                if "add" in action:
                    removed.discard(folder / unquote(action["add"]["path"]))
                if "remove" in action:
                    removed.add(folder / unquote(action["remove"]["path"]))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise _unreadable(name, file) from None
    return removed


def _unreadable(name: str, commit: str) -> DataError:
    return DataError(f"{name}/{DELTA_LOG}/{commit} cannot be read as a Delta log; {_REMEDY}")
