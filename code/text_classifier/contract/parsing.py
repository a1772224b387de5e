"""A job's hyperparameters, parsed: their names and aliases, and the rules between them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, TypeVar

from text_classifier.contract.class_weights import given_weights
from text_classifier.contract.errors import SettingsError, nearest, quoted
from text_classifier.contract.hyperparameters import TABLE, Settings, secret
from text_classifier.contract.metric_names import BY_TASK, DEFAULTS

T = TypeVar("T")

#: The least tokens of a pair: up to four special tokens, and one of each text.
SHORTEST_PAIR = 6

#: Accepted alternative names, those of the AWS tutorial included, and the names that they are read as.
ALIASES = {"valid_batch_size": "eval_batch_size"}

#: Names that other trainers have for these hyperparameters (transformers, AutoTrain, SageMaker's own containers).
PEERS = {
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "patience": "early_stopping_patience",
    "early_stopping_threshold": "early_stopping_min_delta",
    "batch_size": "train_batch_size",
    "mini_batch_size": "train_batch_size",
    "per_device_train_batch_size": "train_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "lr": "learning_rate",
    "max_length": "max_sequence_length",
    "max_seq_length": "max_sequence_length",
    "max_seq_len": "max_sequence_length",
    "model_id": "model_name",
    "model_name_or_path": "model_name",
    "pretrained_model_name_or_path": "model_name",
    "warmup_steps": "warmup_ratio, a fraction of all steps,",
    "truncation_side": "truncation",
    "text_column": "text_columns",
    "text_pair": "text_pair_columns",
    "text_pair_column": "text_pair_columns",
    "target_column": "label_column",
    "gradient_clip_val": "max_grad_norm",
    "clip_grad_norm": "max_grad_norm",
    "fp16": "precision=fp16",
    "bf16": "precision=bf16",
    "random_state": "seed",
    "random_seed": "seed",
    "max_train_samples": "max_data_rows",
    "validation_split": "train_size, the fraction that is trained on,",
    "test_size": "train_size, the fraction that is trained on,",
    "problem_type": "task",
    "cv": "cross_validation",
    "folds": "cross_validation",
    "num_folds": "cross_validation",
    "n_splits": "cross_validation",
    "lr_scheduler_type": "lr_scheduler",
    "label_smoothing_factor": "label_smoothing",
    "class_weight": "class_weights",
    "layer_lr_decay": "layerwise_lr_decay",
    "llrd": "layerwise_lr_decay",
    "separator": "delimiter",
    "sep": "delimiter",
    "header": "has_header",
    "stride": "window_stride",
    "doc_stride": "window_stride",
}

_SECRET_NAME = re.compile(r"token$|secret|passw|api_?key|access_?key|credential", re.IGNORECASE)


def parse(values: Mapping[str, str]) -> Settings:
    """The settings of these hyperparameters, given as strings.

    Raises SettingsError for an unknown name, a value out of range, and values that do not go together.
    """
    table = {row.name: row for row in TABLE}
    values = without_aliases(values)
    for name in values:
        if name not in table and _SECRET_NAME.search(name):
            raise secret(name)
        if name not in table:
            hint = f"it is called {PEERS[name]} here" if name in PEERS else nearest(name, table)
            raise SettingsError(f"unknown hyperparameter {quoted(name)}; {hint}")
    return _resolve(Settings(**{name: table[name].read(text) for name, text in values.items()}))


def without_aliases(values: Mapping[str, T]) -> dict[str, T]:
    """The values under their own names. Raises SettingsError when one is given under both of its names."""
    for alias, name in ALIASES.items():
        if alias in values and name in values:
            raise SettingsError(f"hyperparameter {alias!r} is an alias of {name!r}; set only one of them")
    return {ALIASES.get(name, name): text for name, text in values.items()}


def _resolve(settings: Settings) -> Settings:
    """Fill in the task's default metric. Raises SettingsError for settings that the task does not have."""
    task, metric = settings.task, settings.metric_for_best_model or DEFAULTS[settings.task]
    if metric not in BY_TASK[task]:
        raise SettingsError(
            f"metric_for_best_model={metric} does not exist for task={task}; choose one of {', '.join(BY_TASK[task])}"
        )
    _require_losses(settings)
    _require_windows(settings)
    _require_pairs(settings)
    if settings.early_stopping_min_delta and not settings.early_stopping_patience:
        raise SettingsError(
            "early_stopping_min_delta does nothing without early_stopping_patience; set it too, or remove "
            "early_stopping_min_delta"
        )
    if settings.cross_validation == 1:
        raise SettingsError("cross_validation=1 leaves no rows to train on; set it to 2 or more, or to 0 for none")
    if settings.thresholds != "0.5" and task != "multi_label":
        raise SettingsError(
            f"thresholds={settings.thresholds} only applies to task=multi_label; remove it with task={task}"
        )
    if not settings.label_separator:
        raise SettingsError("label_separator is empty; set it to what separates the labels of a text, such as ;")
    for name in ("label_separator", "label_columns", "label_names"):
        if getattr(settings, name).strip() != getattr(Settings(), name) and task != "multi_label":
            raise SettingsError(f"{name} only applies to task=multi_label; remove it, or set task=multi_label")
    if settings.label_columns.strip():
        other = next((n for n in ("label_column", "label_names", "label_map") if getattr(settings, n).strip()), None)
        if other:
            raise SettingsError(f"{other} and label_columns exclude each other; remove one of them")
    if not settings.has_header and not settings.columns.strip():
        raise SettingsError("has_header=false needs the names of the columns; set them as in columns=label,title,text")
    if settings.has_header and settings.columns.strip():
        raise SettingsError("columns names the columns of files without a header; set has_header=false, or remove it")
    if task == "regression" and (settings.label_map.strip() or settings.unmapped != "error"):
        name = "label_map" if settings.label_map.strip() else "unmapped"
        raise SettingsError(f"{name} applies to classification only; remove it, or choose another task")
    return replace(settings, metric_for_best_model=metric)


def _require_losses(settings: Settings) -> None:
    """Raise SettingsError for a training loss that the task does not have, or that is two at once."""
    given_weights(settings.class_weights)
    default = Settings()
    for name in ("class_weights", "label_smoothing", "focal_gamma"):
        if settings.task == "regression" and getattr(settings, name) != getattr(default, name):
            raise SettingsError(f"{name} applies to classification only; remove it, or choose another task")
    if settings.label_smoothing and settings.focal_gamma:
        raise SettingsError(
            "label_smoothing and focal_gamma exclude each other: both keep the model from overconfidence; remove one "
            "of them"
        )


def _require_windows(settings: Settings) -> None:
    """Raise SettingsError for windows that overlap too much, or that there are none of."""
    stride, length = settings.window_stride, settings.max_sequence_length
    if settings.long_texts != "mean" and stride != Settings().window_stride:
        raise SettingsError("window_stride does nothing without long_texts=mean; set it too, or remove window_stride")
    if settings.long_texts == "mean" and stride >= length - 2:
        raise SettingsError(
            f"window_stride={stride} is how many tokens consecutive windows share and must be less than "
            f"{length - 2}, as max_sequence_length={length} includes special tokens; lower it"
        )
    if settings.long_texts == "mean" and (settings.has_pairs or settings.truncation != "head"):
        name = "text_pair_columns" if settings.has_pairs else f"truncation={settings.truncation}"
        raise SettingsError(f"long_texts=mean reads whole single texts and excludes {name}; remove one of them")


def _require_pairs(settings: Settings) -> None:
    """Raise SettingsError for pairs without a column or tokens for each text, or truncated as single texts."""
    if not settings.has_pairs:
        return
    if not settings.text_columns.strip():
        raise SettingsError(
            "text_pair_columns names the second text of a pair; set text_columns to the columns of the first"
        )
    for name in ("text_columns", "text_pair_columns"):
        if not getattr(settings, name).strip(' ,[]"'):
            raise SettingsError(f"{name}={getattr(settings, name)!r} names no column; correct it")
    if settings.truncation != "head":
        raise SettingsError(
            f"truncation={settings.truncation} applies to single texts; remove it, or remove text_pair_columns"
        )
    if settings.max_sequence_length < SHORTEST_PAIR:
        raise SettingsError(
            f"max_sequence_length={settings.max_sequence_length} leaves too few tokens for a pair of texts; set it to "
            f"{SHORTEST_PAIR} or more, or remove text_pair_columns"
        )


class _Parser(argparse.ArgumentParser):
    """A mistake is an error like any other: argparse itself would end the process."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; write hyperparameters as --name=value")


def from_arguments(
    arguments: Sequence[str],
    usage: str = "train.py [--name=value ...]",
    description: str = "Fine-tune a BERT-family text classifier.",
) -> Settings:
    """Parse `--name value` and `--name=value`. Raises SettingsError as `parse` does.

    `--help` prints `usage`, `description` and all hyperparameters, and ends the program.
    """
    parser = _Parser(usage=usage, description=description, allow_abbrev=False)
    for row in TABLE:
        text = f"{row.help} (default {row.default_text!r})".replace("%", "%%")
        parser.add_argument(f"--{row.name}", metavar=row.type.__name__, help=text)
    for alias in ALIASES:
        parser.add_argument(f"--{alias}", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(arguments)
    values = {name: text for name, text in vars(options).items() if text is not None}
    values.update((word.lstrip("-").partition("=")[0], "") for word in rest if word.startswith("--"))
    stray = [word for word in rest if not word.startswith("--")]
    settings = parse(values)
    if stray:
        raise SettingsError(f"unexpected argument {quoted(stray[0])}; write hyperparameters as --name=value")
    return settings
