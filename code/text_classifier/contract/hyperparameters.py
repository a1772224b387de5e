"""The hyperparameters: one declared table, and how the value of each is read.

SageMaker passes hyperparameters as strings, and some callers encode them as JSON once more (`"0.1"` with the quotes):
both forms are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from text_classifier.contract.errors import QUOTED, SettingsError, quoted
from text_classifier.contract.metric_names import BY_TASK, DEFAULTS, METRICS
from text_classifier.contract.redaction import has_token

#: Characters of a value. SageMaker takes 2,500; the toolkit passes each in several environment variables, which Linux
#: limits to 131,072 bytes.
LONGEST = 20_000

#: The largest integer: NumPy's limit for a seed, and more than anything else needs.
LARGEST = 2**32 - 1


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    may_be_blank: bool = False,
) -> Any:
    """Declare a hyperparameter: `minimum` and `maximum` are inclusive, `below` is exclusive; `choices` are all valid
    values. A value of white space alone is empty, unless it `may_be_blank`."""
    rules = {"help": help, "minimum": minimum, "maximum": maximum, "below": below, "choices": tuple(choices)}
    return field(default=default, metadata=rules | {"may_be_blank": may_be_blank})


@dataclass(frozen=True)
class Settings:
    """All hyperparameters of a job, checked. The order is that of the documentation's table."""

    model_name: str = setting(
        "distilbert-base-uncased", "Model on the Hugging Face Hub; ignored when there is a `model` channel"
    )
    task: str = setting(
        "single_label",
        "Training objective; `single_label`: one class per text; `multi_label`: any number of labels per text; "
        "`regression`: one number per text",
        choices=tuple(BY_TASK),
    )
    epochs: int = setting(3, "Passes over the training rows", minimum=1)
    evaluations_per_epoch: int = setting(
        1, "Evaluations on the validation rows in each epoch; the best model and early stopping count them", minimum=1
    )
    early_stopping_patience: int = setting(
        0, "Evaluations without a better `metric_for_best_model` after which training ends; 0: all epochs", minimum=0
    )
    early_stopping_min_delta: float = setting(
        0.0, "With early_stopping_patience: the metric must be better by more than this", minimum=0
    )
    train_batch_size: int = setting(
        32, "Batch size per GPU (on CPU: per host); what does not fit at once is computed in micro-batches", minimum=1
    )
    eval_batch_size: int = setting(128, "Batch size for validation and test, per GPU (on CPU: per host)", minimum=1)
    max_tokens_per_gpu: int = setting(
        0, "Maximum number of tokens computed at once, padding included; 0: what fits into GPU memory", minimum=0
    )
    learning_rate: float = setting(5e-5, "Peak learning rate", minimum=0)
    warmup_ratio: float = setting(0.06, "Fraction of all steps used for linear warm-up", minimum=0, below=1)
    lr_scheduler: str = setting(
        "linear",
        "Learning rate after the warm-up; `linear` and `cosine`: decay to 0 in the last step; `constant`: no decay",
        choices=("linear", "cosine", "constant"),
    )
    layerwise_lr_decay: float = setting(
        1.0,
        "The learning rate is multiplied by this factor once per layer below the head; 1: one rate for all layers",
        minimum=0.1,
        maximum=1,
    )
    freeze_layers: int = setting(
        0,
        "Freeze the embeddings and this many encoder layers, from the first on; 0: nothing is frozen",
        minimum=0,
    )
    weight_decay: float = setting(0.01, "AdamW weight decay; biases and LayerNorm are exempt", minimum=0)
    adam_epsilon: float = setting(1e-8, "AdamW epsilon", minimum=0)
    max_grad_norm: float = setting(1.0, "Gradient clipping norm; 0: no clipping", minimum=0)
    max_sequence_length: int = setting(
        128, "Maximum number of tokens per text, special tokens included; longer texts are truncated", minimum=3
    )
    truncation: str = setting(
        "head",
        "Which tokens of a longer text are kept; `head`: the first; `tail`: the last; `head_tail`: a quarter of them "
        "from the beginning, the others from the end",
        choices=("head", "tail", "head_tail"),
    )
    long_texts: str = setting(
        "truncate",
        "Texts of more than max_sequence_length tokens; `truncate`: the rest is ignored; `mean`: they are read in "
        "overlapping windows of that length, each a row of its own in training, and the logits are averaged",
        choices=("truncate", "mean"),
    )
    window_stride: int = setting(
        32, "With long_texts=mean: tokens by which consecutive windows overlap, as in tokenizers", minimum=0
    )
    max_data_rows: int = setting(0, "Rows to sample at random from the `train` channel; 0: all rows", minimum=0)
    train_size: float = setting(
        0.9, "Fraction of the rows used for training when there is no `validation` channel", minimum=0.01, below=1
    )
    text_columns: str = setting(
        "",
        "Text columns, comma-separated or a JSON list, joined with a space; empty: those of the Amazon review files, "
        "else `text`",
    )
    text_pair_columns: str = setting(
        "",
        "Columns of the second text of a pair, as in `text_columns`, which has the first: the model gets both as its "
        "tokenizer encodes pairs; empty: single texts",
    )
    label_column: str = setting("", "Label column; empty: that of the Amazon review files, else `label`")
    label_columns: str = setting(
        "", "For task=multi_label: one column for each label, with 0 or 1, in place of `label_column`"
    )
    label_names: str = setting("", "For task=multi_label: the labels' names where rows have lists such as `[0, 1, 1]`")
    id_column: str = setting("", "Column that identifies a row in predictions and the report; empty: file and line")
    encoding: str = setting(
        "",
        "Encoding of text files, such as `windows-1252`; `auto`: UTF-8, else Windows-1252; empty: UTF-8, or that of "
        "the byte order mark",
    )
    delimiter: str = setting(
        "", "Separator of the columns of text files, such as `|` or `tab`; empty: detected", may_be_blank=True
    )
    has_header: bool = setting(True, "Whether the first line of text files names the columns; `false` needs `columns`")
    columns: str = setting("", "With has_header=false: the names of the columns, such as `label,title,text`")
    records_key: str = setting("", "Key of the list of rows in a JSON object; empty: detected")
    label_separator: str = setting(
        ",", "Separator between the labels of a text, for task=multi_label", may_be_blank=True
    )
    label_map: str = setting(
        "",
        "Maps labels and ranges to classes, as in `1-3=negative;4,5=positive`; empty: each distinct label is a class",
    )
    unmapped: str = setting(
        "error", "Rows whose label is not in `label_map`: fail the job, or `drop` them", choices=("error", "drop")
    )
    unlabelled: str = setting("error", "Rows without a label: fail the job, or `drop` them", choices=("error", "drop"))
    bad_rows: str = setting(
        "error", "Rows that cannot be read: fail the job, or `skip` them (at most 1 %)", choices=("error", "skip")
    )
    group_column: str = setting(
        "", "Rows with the same value in this column stay on one side of the validation split; empty: no groups"
    )
    slice_column: str = setting(
        "", "Metrics are also reported per value of this column, for example product_category; empty: no slices"
    )
    cross_validation: int = setting(
        0,
        "Also train this many models, each without another part of the training rows, and measure each on its part; "
        "for a few hundred rows; 0: none",
        minimum=0,
        maximum=20,
    )
    deduplicate: bool = setting(False, "Drop training rows whose text also occurs in validation or test")
    class_weights: str = setting(
        "none",
        "Class weighting of the training loss; `balanced`: inversely to class frequency; `effective`: inversely to the "
        "effective number of rows; or weights by class, `spam:5,fraud:20` or a JSON object, 1 for the others; for "
        "task=multi_label: weights of the rows that have a label",
    )
    label_smoothing: float = setting(
        0.0, "Share of each training target that is spread evenly over all classes; 0: none", minimum=0, below=1
    )
    focal_gamma: float = setting(
        0.0, "Exponent of the focal loss, which gives easy rows less weight; 0: cross-entropy", minimum=0, maximum=10
    )
    thresholds: str = setting(
        "0.5",
        "For task=multi_label: the probability above which a label is predicted; `fitted`: also fit one per label on "
        "the validation rows (best F1), for `predict --fitted-thresholds`",
        choices=("0.5", "fitted"),
    )
    metric_for_best_model: str = setting(
        "",
        "Validation metric that selects the epoch to save, and when equal the validation loss does; empty: "
        + ", ".join(f"`{metric}` ({task})" for task, metric in DEFAULTS.items()),
        choices=("", *METRICS),
    )
    precision: str = setting(
        "auto",
        "dtype of the matrix multiplications; `auto`: bf16 or fp16 where the hardware is faster with it, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    export: str = setting(
        "none", "`onnx`: also write model.onnx, verified against the PyTorch model", choices=("none", "onnx")
    )
    seed: int = setting(42, "Seed of the split, sample, row order, new weights and dropout", minimum=0)
    checkpoint_dir: str = setting("", "Checkpoint folder; empty: the one that SageMaker syncs to S3")
    checkpoint_seconds: float = setting(120.0, "Seconds between checkpoints; each epoch also ends with one", minimum=0)
    log_seconds: float = setting(10.0, "Seconds between progress lines", minimum=0)
    collective_timeout_seconds: int = setting(
        60, "Seconds without an answer after which a host counts as lost and the job fails", minimum=1
    )

    @property
    def has_pairs(self) -> bool:
        """Whether rows are pairs of texts."""
        return bool(self.text_pair_columns.strip())


def secret(name: str) -> SettingsError:
    """The error for a hyperparameter that is one, or holds one."""
    return SettingsError(
        f"hyperparameter {quoted(name)} looks like a secret, and hyperparameters are stored and printed as they are; "
        "keep it in AWS Secrets Manager and pass it as an environment variable of the job, such as HF_TOKEN"
    )


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the table."""

    name: str
    type: type
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    below: float | None
    choices: tuple[str, ...]
    may_be_blank: bool

    def read(self, text: str) -> Any:
        """Parse the string that SageMaker passed. Raises SettingsError when it is not a valid value."""
        self._require_text(text)
        text = text if self.may_be_blank and not text.strip() else _without_json_quotes(text.strip())
        self._require_text(text)
        try:
            value = self._value(text)
        except ValueError:
            kind = {int: "an integer", float: "a number", bool: "a boolean"}[self.type]
            raise SettingsError(
                f"hyperparameter {self.name}={quoted(text)} is not {kind}; set it to {self._range()}"
            ) from None
        if self.choices and value not in self.choices:
            raise SettingsError(f"hyperparameter {self.name}={quoted(text)} is not valid; set it to {self._range()}")
        in_range = self.type in (str, bool) or (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (value < self.below if self.below is not None else value < float("inf"))
        )
        if self.type is int and value > LARGEST:
            raise SettingsError(f"hyperparameter {self.name}={value} is out of range; set it to at most {LARGEST}")
        if not in_range:
            shown = text if len(text) <= QUOTED else quoted(text)
            raise SettingsError(f"hyperparameter {self.name}={shown} is out of range; set it to {self._range()}")
        return value

    def _require_text(self, text: str) -> None:
        """Raise SettingsError for what no process can be started with, and for secrets."""
        if len(text) > LONGEST:
            raise SettingsError(
                f"hyperparameter {self.name} has {len(text):,} characters; shorten it to {LONGEST:,} at most"
            )
        if re.search("[\0\ud800-\udfff]", text):
            raise SettingsError(
                f"hyperparameter {self.name}={quoted(text)} has a NUL character or one that is not Unicode; remove it"
            )
        if has_token(text):
            raise secret(self.name)

    def _value(self, text: str) -> Any:
        if self.type is bool:
            return _boolean(text)
        if self.type is int and re.fullmatch(r"[+-]?\d+\.0*", text):  # what a float in Python or a spreadsheet becomes
            return int(text.partition(".")[0])
        if self.type is int and re.fullmatch(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+", text) and float(text).is_integer():
            return int(float(text))
        if self.type in (int, float) and "_" in text:
            raise ValueError(text)  # Python reads 1_0 as 10
        return self.type(text)

    @property
    def default_text(self) -> str:
        """The default as a user would write it."""
        return str(self.default).lower() if self.type is bool else str(self.default)

    def _range(self) -> str:
        if self.type is bool:
            return "true or false"
        if self.choices:
            return f"one of {', '.join(filter(None, self.choices))}"
        upper = "" if self.below is None else f" and less than {self.below:g}"
        upper = upper if self.maximum is None else f" and {self.maximum:g} or less"
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
