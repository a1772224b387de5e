"""The first part of the prepared data: the rows of all splits. A model can be loaded when they are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.contract.errors import out_of_memory_preparing
from text_classifier.contract.hyperparameters import Settings
from text_classifier.dataset import data_report
from text_classifier.dataset.load import Data, read_data
from text_classifier.modeling import hub
from text_classifier.preparation.files import (
    map_array,
    map_content,
    map_strings,
    published,
    read_manifest,
    wait_for,
    write_array,
    write_bounds,
    write_manifest,
    write_strings,
)
from text_classifier.reading.rows import Places, Rows
from text_classifier.reading.shards import Shards
from text_classifier.reading.spool import file_name
from text_classifier.reading.strings import Strings
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.heartbeat import working
from text_classifier.tasks.registry import task_of

#: The folder of this part.
ROWS = "rows"

#: What `Rows` has as arrays, and what as other values.
_ARRAYS = ("targets", "characters", "exact", "near", "groups", "slices")
_FACTS = ("channel", "slice_values", "dropped", "unlabelled", "notes")

#: What `Places` has as arrays.
_PLACES = ("file_of", "numbers", "lines")


def prepare_rows(folders: JobFolders, settings: Settings, folder: Path, shards: Shards | None = None) -> None:
    """Read and check the data, report on it on the first host, and publish the rows in `folder`. Raises JobError.

    `shards`: reads the sharded channels, if there are any.
    """
    folders.require_writable_outputs()
    try:
        with working("reading the data"):
            data = read_data(folders.data_channels(), settings, shards, folder)
        if shards:
            shards.end()
        if os.environ.get("RANK", "0") == "0":
            print(data_report.table(data.report, data.task), flush=True)
            data_report.write(folders.output_data, data.report)
        if folders.channel("model") is None:
            hub.require_answer(settings.model_name)
        write_rows(data, folder)
    except MemoryError:
        raise out_of_memory_preparing() from None


def write_rows(data: Data, folder: Path) -> None:
    """Publish the rows of all splits in `folder`, where read_data has written the texts.

    Raises PlatformError when the disk is full.
    """
    with published(folder / ROWS) as part:
        splits: dict[str, dict[str, Any]] = {}
        for name, rows in data.splits.items():
            for field in _ARRAYS:
                write_array(part / f"{name}.{field}.npy", getattr(rows, field))
            for field in _PLACES:
                write_array(part / f"{name}.{field}.npy", getattr(rows.places, field))
            write_strings(part / f"{name}.files", rows.places.files)
            for field, strings in (("texts", rows.texts), ("ids", rows.ids)):
                if strings is not None:
                    write_bounds(part / f"{name}.{field}", strings)
                    content = file_name(rows.channel, field)
                    if not (part / content).exists():  # the splits of a channel share it
                        (folder / content).rename(part / content)
            splits[name] = {field: getattr(rows, field) for field in _FACTS}
        write_manifest(part, {"classes": data.classes, "report": data.report, "splits": splits})


def map_rows(settings: Settings, folder: Path) -> Data:
    """The rows in `folder`, as soon as they are published. Texts, places and ids are looked up in the files."""
    part = wait_for(folder / ROWS)
    manifest = read_manifest(part)
    content_of = cache(lambda file: map_content(part / file))
    splits = {name: _map_split(part, name, facts, content_of) for name, facts in manifest["splits"].items()}
    return Data(task_of(asdict(settings)), tuple(manifest["classes"]), splits, manifest["report"])


def _map_split(part: Path, name: str, facts: Mapping[str, Any], content_of: Callable[[str], np.ndarray]) -> Rows:
    arrays = {field: map_array(part / f"{name}.{field}.npy") for field in _ARRAYS}

    def strings(field: str) -> Strings:
        return map_strings(part / f"{name}.{field}", content_of(file_name(facts["channel"], field)))

    return Rows(
        **arrays,
        channel=facts["channel"],
        texts=strings("texts"),
        places=Places(
            map_strings(part / f"{name}.files"),
            **{field: map_array(part / f"{name}.{field}.npy") for field in _PLACES},
        ),
        ids=strings("ids") if (part / file_name(facts["channel"], "ids")).exists() else None,
        slice_values=tuple(facts["slice_values"]),
        dropped=facts["dropped"],
        unlabelled=facts["unlabelled"],
        notes=tuple(facts["notes"]),
    )
