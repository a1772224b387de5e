"""The rows of a job: its channels to labelled splits. Needs no torch, so that a mistake in the data shows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import reviews
from contract import Contract
from failures import DataError, SettingsError
from hyperparameters import Settings
from labels import LabelMap, label_map, require_all_classes, sample, split


@dataclass(frozen=True)
class Data:
    """The rows of each split and their classes (int64), and the names of the classes."""

    labels: LabelMap
    splits: dict[str, tuple[reviews.Reviews, np.ndarray]]


def read_data(job: Contract, settings: Settings) -> Data:
    """Read the channels and split off a validation set when there is none. Raises DataError or SettingsError."""
    folder = job.channel("train")
    if folder is None:
        raise SettingsError("the job has no channel 'train'; name the channel with the training files so")
    rows = reviews.read(folder, settings.text_columns, settings.label_column)
    labels = label_map(settings.label_map, rows.labels)
    if len(labels.classes) != 2 and settings.metric_for_best_model in ("roc_auc", "auprc"):
        raise SettingsError(
            f"metric_for_best_model={settings.metric_for_best_model} exists for two classes only, these are "
            f"{len(labels.classes)}; take f1_macro"
        )
    classes = labels.apply(rows)
    kept = sample(len(rows), settings.max_data_rows, settings.seed)
    rows, classes = rows.take(kept.tolist()), classes[kept]

    splits = {}
    for name in ("validation", "test"):
        folder = job.channel(name)
        if folder is not None:
            others = reviews.read(folder, settings.text_columns, settings.label_column)
            splits[name] = (others, labels.apply(others))
    if "validation" not in splits:
        train_rows, held_out = split(classes, settings.train_size, settings.seed)
        if not len(held_out):
            raise DataError("there are too few rows to hold some out; add rows or a `validation` channel")
        splits["validation"] = (rows.take(held_out.tolist()), classes[held_out])
        rows, classes = rows.take(train_rows.tolist()), classes[train_rows]
    require_all_classes(classes, labels.classes)
    return Data(labels, {"train": (rows, classes), **splits})
