"""Tables whose log says which of their files are current: Delta is read, Hudi refused."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from urllib.parse import unquote

from text_classifier.contract.data_files import DELTA_LOG, HUDI_LOG
from text_classifier.contract.errors import DataError

_REMEDY = "write the current rows of the table as plain Parquet files"


def removed_files(folder: Path, name: str) -> Set[Path]:
    """The files below `folder`, for messages `name`, that its Delta log says are no longer part of the table.

    Raises DataError when that cannot be told: a log that begins with a checkpoint, deletion vectors, a Hudi table.
    """
    if (folder / HUDI_LOG).is_dir():
        raise DataError(f"{name} is a Hudi table, whose files hold older versions of rows too; {_REMEDY}")
    log = folder / DELTA_LOG
    if not log.is_dir():
        return frozenset()
    commits = sorted(log.glob("*.json"))
    if not commits or commits[0].stem.strip("0"):
        raise DataError(f"{name} is a Delta table whose log does not begin with its first commit; {_REMEDY}")
    removed: set[Path] = set()
    for commit in commits:
        try:
            actions = [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines() if line.strip()]
            for action in actions:
                if action.get("add", {}).get("deletionVector"):
                    raise DataError(f"{name} is a Delta table with deletion vectors; {_REMEDY}")
                if "add" in action:
                    removed.discard(folder / unquote(action["add"]["path"]))
                if "remove" in action:
                    removed.add(folder / unquote(action["remove"]["path"]))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise DataError(f"{name}/{DELTA_LOG}/{commit.name} cannot be read as a Delta log; {_REMEDY}") from None
    return removed
