"""A model and its tokenizer, from the `model` channel or by name from the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.files import model_directory, no_pickles
from text_classifier.modeling.packed import PackedClassifier, encoder
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.ops.selftest import LONGEST


def load_model(
    channel: Path | None,
    name: str,
    classes: tuple[str, ...],
    problem_type: str,
    max_sequence_length: int,
    first_bias: float | None = None,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load weights as fp32, with a new head for `classes`. With a channel the network is not used.

    `problem_type` is transformers' name of the task. A new head with one output gets the bias `first_bias`.

    Raises SettingsError if the model cannot be loaded or has fewer positions than `max_sequence_length`.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = str(model_directory(channel)) if channel else name
    common: dict[str, Any] = {"local_files_only": channel is not None, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(
            source,
            id2label=dict(enumerate(classes)),
            label2id={label: index for index, label in enumerate(classes)},
            problem_type=problem_type,
            **common,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        with no_pickles():
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                dtype="float32",
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **common,
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise SettingsError(_no_model(source, channel, error)) from None
    _require_positions(config, tokenizer, max_sequence_length)
    if first_bias is not None:
        mismatched = (key[0] for key in loaded["mismatched_keys"])
        _set_head_bias(model, first_bias, {*loaded["missing_keys"], *mismatched})
    return tokenizer, model


def _set_head_bias(model: PreTrainedModel, value: float, new: set[str]) -> None:
    """Set the bias of a last layer with one output if it is among the `new` weights: it starts at about `value`."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.out_features == 1 and f"{name}.bias" in new:
            nn.init.constant_(module.bias, value)


Classifier = PackedClassifier | PaddedClassifier


def make_classifier(
    model: PreTrainedModel, pad_id: int, precision: Precision, max_seqlens: Sequence[int] = (LONGEST,)
) -> Classifier:
    """A packed classifier if the model's family is supported, else a padded one.

    `max_seqlens`: tokens of the longest row of each split, for which the operations are tested.
    """
    parts = encoder(model)
    if parts is None:
        return PaddedClassifier(model, pad_id, precision)
    return PackedClassifier(model, parts, precision, max_seqlens)


def _no_model(source: str, channel: Path | None, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    if channel:
        return f"the model in the channel 'model' cannot be loaded ({reason}); save it again with save_pretrained"
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return (
        f"model_name={source!r} cannot be loaded from the hub{offline}: {reason}; check the spelling, or give the job "
        "a `model` channel if it has no network"
    )


def _require_positions(config: Any, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    # RoBERTa's positions start after its padding id, so its tokenizer's limit is the smaller of the two.
    positions = min(getattr(config, "max_position_embeddings", max_length), tokenizer.model_max_length)
    if max_length > positions:
        raise SettingsError(f"max_sequence_length={max_length} exceeds the model's {positions} positions; lower it")
