"""Which files of a channel hold rows, by their names: one table for the launcher and the image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, cast

#: What the writers of data leave beside it, in lower case: checksums and metadata of Hadoop, Athena and Hugging Face's
#: `save_to_disk`, the markers of EMR's folders, what Windows writes into folders, and the texts of a repository.
NOT_DATA = (
    "*.crc", "*.metadata", "*_$folder$", "*.md5", "*.sha256", "thumbs.db", "desktop.ini",
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
    "readme", "readme.*", "license", "license.*", "licence", "licence.*", "notice", "notice.*",
)  # fmt: skip

#: Folders of the logs of Delta and Hudi tables.
DELTA_LOG, HUDI_LOG = "_delta_log", ".hoodie"
TABLE_LOGS = (DELTA_LOG, HUDI_LOG)

#: The split that a file's or folder's name says, as in `train.csv`, `validation-00000-of-00001.parquet` and `test/`.
_SPLITS = {
    "train": re.compile(r"(?:train|training)(?:[-_. (\d].*)?", re.IGNORECASE),
    "validation": re.compile(r"(?:validation|valid|val|dev|eval)(?:[-_. (\d].*)?", re.IGNORECASE),
    "test": re.compile(r"(?:test|testing)(?:[-_. (\d].*)?", re.IGNORECASE),
}

SplitName = Literal["train", "validation", "test"]


def is_data(parts: Sequence[str]) -> bool:
    """Whether the file with this path in its channel, given part by part, may hold rows.

    Spark, Hive, Athena and pyarrow pass over names that begin with `_` or `.`: `_SUCCESS`, `_temporary`, `_delta_log`,
    `.ipynb_checkpoints`. A folder of a partition is none of these, whatever its column is called.
    """
    *folders, name = parts
    is_hidden = name.startswith(("_", ".")) or any(
        folder.startswith(".") or (folder.startswith("_") and "=" not in folder) for folder in folders
    )
    return not is_hidden and not any(fnmatchcase(name.lower(), pattern) for pattern in NOT_DATA)


def is_needed(parts: Sequence[str]) -> bool:
    """Whether a job needs the file: it may hold rows, or is the log that says which files of a table are current."""
    return is_data(parts) or any(folder in TABLE_LOGS for folder in parts[:-1])


def split_name(parts: Sequence[str]) -> SplitName | None:
    """The split that the path of a file in its channel names; the file's own name counts more than its folders'."""
    for part in reversed(parts):
        for split, pattern in _SPLITS.items():
            if pattern.fullmatch(part):
                return cast(SplitName, split)
    return None
