"""From the channels of a job to labelled splits. Needs no torch, so that a mistake in the data shows at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import SCHEMA_VERSION, ChannelReport, DataReport
from text_classifier.dataset import data_report
from text_classifier.dataset.splits import folds, sample, shared, split, split_groups
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.channel import read_rows
from text_classifier.reading.columns import Columns, names_of
from text_classifier.reading.label_map import LabelMap, parse_label_map
from text_classifier.reading.options import file_options
from text_classifier.reading.rows import Rows
from text_classifier.reading.shards import Shards
from text_classifier.reading.sources import Source, SourceFile, source, sources
from text_classifier.reading.table import column_name
from text_classifier.tasks.base import Task
from text_classifier.tasks.registry import task_of

#: Training rows up to which there is a cross-validation. Of more, a validation split measures well enough.
MOST_CROSS_VALIDATED = 20_000

#: Factor between the held-out rows and those that train_size says above which a note gives both.
FAR = 2


@dataclass(frozen=True)
class Data:
    """The labelled rows of each split, the names of the model's outputs, and the content of data_report.json."""

    task: Task
    classes: tuple[str, ...]
    splits: dict[str, Rows]
    report: DataReport


def read_data(
    channels: Mapping[str, Path], settings: Settings, shards: Shards | None = None, folder: Path | None = None
) -> Data:
    """Read the channels `train`, `validation` and `test`; without a `validation` channel, split rows off `train`.

    With `shards` some channels lie on several hosts, and each host gets the same data. Texts and ids are written to
    `folder`, as in Assembly, from where write_rows publishes them. Raises DataError or SettingsError.
    """
    task = task_of(asdict(settings))
    found = sources(channels, shards.source if shards else source)
    splits_off = "validation" not in found
    label_map = parse_label_map(settings.label_map)
    read = partial(_read, settings, task, shards, folder)
    is_split = splits_off or settings.cross_validation > 0
    rows, label_map, seen = read(found["train"], label_map, is_split=is_split, is_measured=splits_off)
    counts = {"train": seen}
    classes = label_map.classes
    if missing := task.missing(rows.targets, classes):
        raise DataError(f"no training row has the class {missing[0]!r}; add rows of it, or remove it from the settings")
    if settings.max_data_rows:
        rows = rows.take(sample(task.strata(rows.targets, settings.train_size), settings.max_data_rows, settings.seed))
    not_sampled = task.missing(rows.targets, classes)  # a note says so
    splits: dict[str, Rows] = {}
    notes: list[str] = []
    for name in ("validation", "test"):
        if name in found:
            splits[name], _, counts[name] = read(
                found[name], label_map, is_measured=True, training=found["train"].files
            )
    if "validation" not in splits:
        training, held_out = _split(rows, settings, task)
        if not len(held_out):
            few = f"max_data_rows={settings.max_data_rows} leaves" if settings.max_data_rows else "there are"
            raise DataError(
                f"{few} too few rows for a validation split, which takes one of each class with two or more; add rows "
                "or a `validation` channel"
            )
        notes += _share_notes(len(held_out), len(rows), settings)
        splits["validation"] = rows.take(held_out)
        rows = rows.take(training)
    rows, shared_notes = _without_shared(rows, splits, settings)
    splits = {"train": rows, **splits}
    if lost := set(task.missing(rows.targets, classes)) - set(not_sampled):
        raise DataError(
            f"no training row of the class {min(lost)!r} is left: all are in a group of the validation split, or "
            "repeat a text of another split (deduplicate); add rows of it"
        )
    task.require_learnable(rows.targets, classes, settings)
    fold_of_rows(rows, task, settings)  # refuses what cannot be cross-validated
    metric = settings.metric_for_best_model
    if reason := task.unmeasurable(splits["validation"].targets).get(metric):
        raise SettingsError(
            f"metric_for_best_model={metric} is undefined for the validation rows, because {reason}; choose another "
            "metric, or other validation rows"
        )
    described = {name: data_report.describe_split(rows, task, classes) for name, rows in splits.items()}
    report: DataReport = {
        "schema_version": SCHEMA_VERSION,
        "channels": counts,
        "splits": described,
        "notes": [
            *dict.fromkeys(note for rows in splits.values() for note in rows.notes),
            *notes,
            *shared_notes,
            *task.notes({name: rows.targets for name, rows in splits.items()}, classes),
            *data_report.rare_notes(described["train"]),
        ],
    }
    return Data(task, classes, splits, report)


def _read(
    settings: Settings,
    task: Task,
    shards: Shards | None,
    folder: Path | None,
    found: Source,
    label_map: LabelMap | None,
    *,
    is_split: bool = False,
    is_measured: bool,
    training: Sequence[SourceFile] = (),
) -> tuple[Rows, LabelMap, ChannelReport]:
    """The rows of a channel, the label map (made from its labels if None is given), and the channel's report.

    Groups are read if the channel is split, slices if metrics are measured on it.
    """
    columns = Columns(
        names_of(settings.text_columns, "text_columns"),
        column_name(settings.label_column),
        names_of(settings.label_columns, "label_columns"),
        group=column_name(settings.group_column) if is_split else "",
        slice=column_name(settings.slice_column) if is_measured else "",
        id=column_name(settings.id_column),
        pairs=names_of(settings.text_pair_columns, "text_pair_columns"),
    )
    reader = task.reader(label_map, settings)
    bad = BadRows(skips=settings.bad_rows == "skip")
    options, drops = file_options(asdict(settings)), settings.unlabelled == "drop"
    rows, label_map = read_rows(
        found, columns, reader, bad, options,
        drops_unlabelled=drops, shards=shards, folder=folder, training=training,
    )  # fmt: skip
    return rows, label_map, data_report.describe_channel(rows, bad)


def _split(rows: Rows, settings: Settings, task: Task) -> tuple[np.ndarray, np.ndarray]:
    strata = task.strata(rows.targets, settings.train_size)
    if len(rows.groups):
        return split_groups(strata, rows.groups, settings.train_size, settings.seed)
    return split(strata, settings.train_size, settings.seed)


def _share_notes(held_out: int, rows: int, settings: Settings) -> list[str]:
    """A note on a validation split that is far from what `train_size` says, because groups stay whole."""
    wanted = max(round(rows * (1 - settings.train_size)), 1)
    if not settings.group_column.strip() or wanted / FAR <= held_out <= wanted * FAR:
        return []
    return [
        f"validation has {held_out:,} of {rows:,} rows, not {wanted:,} as train_size={settings.train_size:g} says, "
        "because the rows of a group stay together; give a `validation` channel to choose its rows"
    ]


def fold_of_rows(rows: Rows, task: Task, settings: Settings) -> np.ndarray:
    """The fold of each training row in `cross_validation`, int64; all rows are in one without it.

    The folds are stratified. Rows of a group, or without groups those with the same text, are in the same fold. Raises
    SettingsError if there are too few rows, or so many that the folds would only cost time.
    """
    count = settings.cross_validation
    if not count:
        return np.zeros(len(rows), dtype=np.int64)
    if len(rows) > MOST_CROSS_VALIDATED:
        raise SettingsError(
            f"cross_validation={count} is for at most {MOST_CROSS_VALIDATED:,} training rows, and there are "
            f"{len(rows):,}, of which a validation split measures well enough; remove it, or set max_data_rows"
        )
    groups, kind = (rows.groups, "groups") if len(rows.groups) else (rows.near, "texts")
    if (different := len(np.unique(groups))) < count:
        raise SettingsError(
            f"cross_validation={count} needs training rows of as many different {kind}, and there are {different}; add "
            "rows, or lower it"
        )
    return folds(task.strata(rows.targets, settings.train_size), groups, count, settings.seed)


def _without_shared(rows: Rows, others: Mapping[str, Rows], settings: Settings) -> tuple[Rows, list[str]]:
    """Count the training rows whose text is also in another split; with deduplicate, remove them."""
    has_text = rows.characters > 0
    near = has_text & shared(rows.near, np.concatenate([other.near for other in others.values()]))
    if not near.any():
        return rows, []
    verbatim = shared(rows.exact[near], np.concatenate([other.exact for other in others.values()])).sum()
    subject = "1 training row repeats" if near.sum() == 1 else f"{near.sum():,} training rows repeat"
    note = f"{subject} a {' or '.join(others)} text ({verbatim:,} verbatim)"
    if not settings.deduplicate:
        return rows, [f"{note}; deduplicate=true removes such rows"]
    return rows.take(np.flatnonzero(~near)), [f"{note}; removed from training"]
