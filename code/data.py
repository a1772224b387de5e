"""The rows of a job: its channels to labelled splits. Needs no torch, so that a mistake in the data shows at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import datareport
import labels as labelling
import reviews
from badrows import BadRows
from columns import Columns, columns_of
from failures import DataError, SettingsError
from hyperparameters import Settings
from labels import LabelMap, Labels
from reviews import Reviews
from splits import sample, shared, split, split_groups


@dataclass(frozen=True)
class Data:
    """The rows of each split and their classes (int64), the names of the classes, and what data_report.json holds."""

    labels: LabelMap
    splits: dict[str, tuple[Reviews, np.ndarray]]
    report: dict[str, Any]


def read_data(channels: Mapping[str, Path], settings: Settings) -> Data:
    """Read the channels `train`, `validation` and `test`, and split off a validation set when there is none.

    Raises DataError or SettingsError.
    """
    label_map = labelling.parse(settings.label_map)
    splits_off = "validation" not in channels
    rows, label_map, seen = _read_training(channels["train"], settings, label_map, splits_off)
    _require_metric(settings, label_map)
    counts = {"train": seen}
    rows = rows.take(sample(len(rows), settings.max_data_rows, settings.seed))
    splits: dict[str, Reviews] = {}
    for name in ("validation", "test"):
        if name in channels:
            codes = Labels(label_map, drops_unknown=settings.unmapped == "drop")
            splits[name], counts[name] = _read(channels[name], settings, codes, is_measured=True)
    if "validation" not in splits:
        training, held_out = _split(rows, settings)
        if not len(held_out):
            raise DataError("there are too few rows to hold some out; add rows or a `validation` channel")
        splits["validation"] = rows.take(held_out)
        rows = rows.take(training)
    rows, notes = _without_shared(rows, splits, settings)
    splits = {"train": rows, **splits}
    labelling.require_all_classes(rows.classes, label_map.classes)
    report = {
        "channels": counts,
        "splits": {name: datareport.describe_split(rows, label_map.classes) for name, rows in splits.items()},
        "notes": [*notes, *_notes(splits, label_map)],
    }
    return Data(label_map, {name: (rows, rows.classes) for name, rows in splits.items()}, report)


def _read_training(
    channel: Path, settings: Settings, label_map: LabelMap | None, splits_off: bool
) -> tuple[Reviews, LabelMap, dict[str, Any]]:
    codes = Labels(label_map, drops_unknown=settings.unmapped == "drop")
    rows, seen = _read(channel, settings, codes, is_split=splits_off, is_measured=splits_off)
    if label_map is None:
        label_map, index_of_code = codes.to_map()
        rows = rows.with_classes(index_of_code)
    return rows, label_map, seen


def _read(
    channel: Path, settings: Settings, codes: Labels, *, is_split: bool = False, is_measured: bool
) -> tuple[Reviews, dict[str, Any]]:
    """The rows of a channel; groups are read of one that is split, slices where metrics are measured."""
    columns = Columns(
        columns_of(settings.text_columns),
        settings.label_column.strip(),
        settings.group_column.strip() if is_split else "",
        settings.slice_column.strip() if is_measured else "",
    )
    bad = BadRows(skips=settings.bad_rows == "skip")
    rows = reviews.read(channel, columns, codes, bad)
    if not len(rows):
        raise DataError(f"no row of {channel.name} has a label that is in label_map; its labels are {codes.known}")
    if not rows.characters.any():
        raise DataError(f"all texts of {channel.name} are empty; set text_columns to the columns of the text")
    return rows, datareport.describe_channel(rows, bad)


def _require_metric(settings: Settings, label_map: LabelMap) -> None:
    if len(label_map.classes) != 2 and settings.metric_for_best_model in ("roc_auc", "auprc"):
        raise SettingsError(
            f"metric_for_best_model={settings.metric_for_best_model} exists for two classes only, these are "
            f"{len(label_map.classes)}; take f1_macro"
        )


def _split(rows: Reviews, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    if len(rows.groups):
        return split_groups(rows.classes, rows.groups, settings.train_size, settings.seed)
    return split(rows.classes, settings.train_size, settings.seed)


def _without_shared(rows: Reviews, others: Mapping[str, Reviews], settings: Settings) -> tuple[Reviews, list[str]]:
    """Count the training rows whose text is in another split too, and leave them out if that is wanted."""
    has_text = rows.characters > 0
    near = has_text & shared(rows.near, np.concatenate([other.near for other in others.values()]))
    exact = has_text & shared(rows.exact, np.concatenate([other.exact for other in others.values()]))
    if not near.any():
        return rows, []
    said = (
        f"{near.sum():,} training rows have a text that is in {' or '.join(others)} too, {exact.sum():,} of them "
        "letter by letter, the others but for capitals and white space"
    )
    if not settings.deduplicate:
        return rows, [f"{said}; deduplicate=true leaves them out"]
    return rows.take(np.flatnonzero(~near)), [f"{said}; they are left out"]


def _notes(splits: Mapping[str, Reviews], label_map: LabelMap) -> list[str]:
    notes = []
    for name in ("validation", "test"):
        if name in splits and (missing := labelling.without_rows(splits[name].classes, label_map.classes)):
            notes.append(
                f"{name} has no row of the class {labelling.listed(missing)}, so the metrics say nothing about it"
            )
    return notes
