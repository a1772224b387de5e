"""The hyperparameters: one declared table, and how strings become values.

SageMaker hands hyperparameters over as strings, which some callers encode as JSON (`"0.1"` within quotes) and others
do not, so both are read. `python hyperparameters.py` prints the table of the README.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from text_classifier.contract.errors import SettingsError, nearest
from text_classifier.contract.metric_names import BY_TASK, DEFAULTS, METRICS


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """Declare a hyperparameter: `minimum` is inclusive, `below` exclusive, `choices` are the only values allowed."""
    rules = {"help": help, "minimum": minimum, "below": below, "choices": tuple(choices)}
    return field(default=default, metadata=rules)


@dataclass(frozen=True)
class Settings:
    """All hyperparameters of a job, checked. The field's order is the order of the README's table."""

    model_name: str = setting(
        "distilbert-base-uncased", "Model on the Hugging Face hub; ignored when there is a `model` channel"
    )
    task: str = setting(
        "single_label",
        "`single_label`: one class a text; `multi_label`: any number of labels a text; `regression`: a number a text",
        choices=tuple(BY_TASK),
    )
    epochs: int = setting(3, "Passes over the training rows", minimum=1)
    train_batch_size: int = setting(32, "Rows of one step on one GPU (on a CPU host: on the host)", minimum=1)
    eval_batch_size: int = setting(128, "Rows per evaluation batch (validation and test)", minimum=1)
    learning_rate: float = setting(5e-5, "Peak learning rate; linear warm-up, then linear decay to 0", minimum=0)
    warmup_ratio: float = setting(0.06, "Share of all steps that warm up", minimum=0, below=1)
    weight_decay: float = setting(0.01, "AdamW weight decay, not on biases and LayerNorm", minimum=0)
    adam_epsilon: float = setting(1e-8, "AdamW epsilon", minimum=0)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm; 0: not clipped", minimum=0)
    max_sequence_length: int = setting(128, "Tokens kept of a text, special tokens included", minimum=3)
    max_data_rows: int = setting(0, "Train on a seeded sample of so many rows; 0: on all", minimum=0)
    train_size: float = setting(
        0.9, "Share of the rows that train when there is no `validation` channel", minimum=0.01, below=1
    )
    text_columns: str = setting(
        "", "Columns joined by a space to the text; empty: those of the Amazon files, else `text`"
    )
    label_column: str = setting("", "Column of the label; empty: that of the Amazon files, else `label`")
    label_separator: str = setting(",", "With task=multi_label, what stands between the labels of a text")
    label_map: str = setting(
        "", "Classes made of labels and ranges, as `1-3=negative;4,5=positive`; empty: each distinct label is a class"
    )
    unmapped: str = setting(
        "error", "Rows with a label that is in no class; `drop` leaves them out", choices=("error", "drop")
    )
    bad_rows: str = setting(
        "error", "Rows that cannot be read; `skip` leaves them out, up to 1 %", choices=("error", "skip")
    )
    group_column: str = setting(
        "", "Rows with the same value in this column are held out together; empty: each by itself"
    )
    slice_column: str = setting("", "The metrics are also those of each value of this column, such as product_category")
    deduplicate: bool = setting(False, "Leave out training rows whose text is in `validation` or `test` too")
    class_weights: str = setting(
        "none", "Of the training loss; `balanced`: all classes weigh alike", choices=("none", "balanced")
    )
    metric_for_best_model: str = setting(
        "",
        "The epoch that is best by this metric is saved; empty: "
        + ", ".join(f"`{metric}` ({task})" for task, metric in DEFAULTS.items()),
        choices=("", *METRICS),
    )
    precision: str = setting(
        "auto",
        "Of the matrix products; `auto`: bf16 or fp16 where the hardware multiplies it faster",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    export: str = setting(
        "none", "`onnx` writes model.onnx beside the weights, checked against the trainer", choices=("none", "onnx")
    )
    seed: int = setting(42, "Of the split, the sample, the row order, the new weights and dropout", minimum=0)
    checkpoint_dir: str = setting("", "Folder of the checkpoints; empty: the one that SageMaker keeps in S3")
    checkpoint_seconds: float = setting(
        120.0, "Time between two checkpoints; there is one after each epoch too", minimum=0
    )
    log_seconds: float = setting(10.0, "Time between two progress lines", minimum=0)
    collective_timeout_seconds: int = setting(60, "A host that is silent for so long ends the job", minimum=1)


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the table."""

    name: str
    type: type
    default: Any
    help: str
    minimum: float | None
    below: float | None
    choices: tuple[str, ...]

    def read(self, text: str) -> Any:
        """Turn the string that SageMaker handed over into a value. Raises SettingsError with one sentence."""
        text = _without_json_quotes(text.strip())
        try:
            value = _boolean(text) if self.type is bool else self.type(text)
        except ValueError:
            kind = {int: "a whole number", float: "a number", bool: "a truth value"}[self.type]
            raise SettingsError(
                f"hyperparameter {self.name}={text!r} is not {kind}; set it to {self._range()}"
            ) from None
        if self.choices and value not in self.choices:
            raise SettingsError(f"hyperparameter {self.name}={text!r} is not known; set it to {self._range()}")
        in_range = self.type in (str, bool) or (
            (self.minimum is None or value >= self.minimum)
            and (value < self.below if self.below is not None else value < float("inf"))
        )
        if not in_range:
            raise SettingsError(f"hyperparameter {self.name}={text} is out of range; set it to {self._range()}")
        return value

    @property
    def default_text(self) -> str:
        """The default as one would write it."""
        return str(self.default).lower() if self.type is bool else str(self.default)

    def _range(self) -> str:
        if self.type is bool:
            return "true or false"
        if self.choices:
            return f"one of {', '.join(filter(None, self.choices))}"
        upper = "" if self.below is None else f" and less than {self.below:g}"
        return f"{self.minimum:g} or more{upper} (default {self.default})"


def _table() -> tuple[Hyperparameter, ...]:
    types = get_type_hints(Settings)
    return tuple(Hyperparameter(f.name, types[f.name], f.default, **f.metadata) for f in fields(Settings))


def _boolean(text: str) -> bool:
    """`true` or `false`, as JSON and Python write them."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _without_json_quotes(text: str) -> str:
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        try:
            return str(json.loads(text))
        except json.JSONDecodeError:
            return text
    return text


TABLE = _table()

#: Older names of hyperparameters, the tutorial's among them: they are read as the names on the right.
ALIASES = {"valid_batch_size": "eval_batch_size"}

_SECRET_NAME = re.compile(r"token$|secret|passw|api_?key|access_?key|credential", re.IGNORECASE)


def parse(values: Mapping[str, str]) -> Settings:
    """Check names and values. Raises SettingsError that names the nearest known hyperparameter, or the range."""
    table = {row.name: row for row in TABLE}
    values = without_aliases(values)
    for name in values:
        if name not in table and _SECRET_NAME.search(name):
            raise SettingsError(
                f"hyperparameter {name!r} looks like a secret, and hyperparameters are stored and printed in clear; "
                "keep it in AWS Secrets Manager and pass it as an environment variable of the job (HF_TOKEN for one)"
            )
        if name not in table:
            raise SettingsError(f"hyperparameter {name!r} is not known; {nearest(name, table)}")
    return _fitting(Settings(**{name: table[name].read(text) for name, text in values.items()}))


def without_aliases(values: Mapping[str, str]) -> dict[str, str]:
    """The values under their current names. Raises SettingsError when one is given under both of its names."""
    for alias, name in ALIASES.items():
        if alias in values and name in values:
            raise SettingsError(f"hyperparameter {alias!r} is another name of {name!r}; give one of them")
    return {ALIASES.get(name, name): text for name, text in values.items()}


def _fitting(settings: Settings) -> Settings:
    """The settings with the task's own metric where none is named. Raises SettingsError for what the task has not."""
    task, metric = settings.task, settings.metric_for_best_model or DEFAULTS[settings.task]
    if metric not in BY_TASK[task]:
        raise SettingsError(
            f"task={task} has no metric_for_best_model={metric}; take one of {', '.join(BY_TASK[task])}"
        )
    if task != "single_label" and settings.class_weights != "none":
        raise SettingsError(
            f"class_weights={settings.class_weights} is for task=single_label, where each row has one class to weigh "
            f"it by; leave it out with task={task}"
        )
    default = next(row.default for row in TABLE if row.name == "label_separator")
    if not settings.label_separator or (task != "multi_label" and settings.label_separator != default):
        raise SettingsError(
            f"label_separator={settings.label_separator!r} is to be one character or more, and is for "
            "task=multi_label; mend it or leave it out"
        )
    if task == "regression" and (settings.label_map.strip() or settings.unmapped != "error"):
        name = "label_map" if settings.label_map.strip() else "unmapped"
        raise SettingsError(f"{name} is about classes, and task=regression learns numbers; leave one of them out")
    return replace(settings, metric_for_best_model=metric)


def from_arguments(arguments: Sequence[str]) -> Settings:
    """Read `--name value` and `--name=value`, as the hook and people at a prompt write them."""
    parser = argparse.ArgumentParser(
        prog="train.py", description="Fine-tune a BERT-family text classifier.", allow_abbrev=False
    )
    for row in TABLE:
        explained = f"{row.help} (default {row.default_text!r})".replace("%", "%%")
        parser.add_argument(f"--{row.name}", metavar=row.type.__name__, help=explained)
    for alias in ALIASES:
        parser.add_argument(f"--{alias}", help=argparse.SUPPRESS)
    known, unknown = parser.parse_known_args(arguments)
    values = {name: text for name, text in vars(known).items() if text is not None}
    values.update((word.lstrip("-").partition("=")[0], "") for word in unknown if word.startswith("--"))
    stray = [word for word in unknown if not word.startswith("--")]
    settings = parse(values)
    if stray:
        raise SettingsError(f"argument {stray[0]!r} belongs to no hyperparameter; write --name=value")
    return settings


def markdown() -> str:
    """The table as the README shows it."""
    lines = ["| hyperparameter | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{row.name}` | {f'`{row.default_text}`' if row.default != '' else 'empty'} | {row.help} |" for row in TABLE
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
