"""A model and its tokenizer, from the `model` channel or by name from the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from text_classifier.contract.errors import printable
from text_classifier.modeling.bounds import bounded
from text_classifier.modeling.checks import (
    new_weights,
    require_positions,
    require_readable_folder,
    require_sizes,
    require_tokenizer,
    require_trainable_config,
    require_trained_head,
    require_trial,
    require_weights,
)
from text_classifier.modeling.declared import require_declared, require_no_adapter
from text_classifier.modeling.files import model_directory, no_pickles
from text_classifier.modeling.head import fit_head
from text_classifier.modeling.packed import PackedClassifier
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.parts import encoder
from text_classifier.modeling.precision import Precision
from text_classifier.modeling.refusal import refusing
from text_classifier.modeling.tensors import Tensor, declared_tensors
from text_classifier.modeling.tokenizer import read_tokenizer
from text_classifier.ops.selftest import LONGEST


def load_model(
    channel: Path | None,
    name: str,
    classes: tuple[str, ...],
    problem_type: str,
    max_sequence_length: int,
    first_bias: float | None = None,
    say: Callable[[str], None] = print,
    *,
    is_trained: bool = False,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load weights as fp32, with a new head for `classes`. With a channel the network is not used.

    `problem_type` is transformers' name of the task. A new head with one output gets the bias `first_bias`. A head for
    the same classes is kept, its rows in their order; `say` tells what was chosen and changed.

    Raises SettingsError if the model cannot be loaded, does not fit together, has fewer positions than
    `max_sequence_length`, or if `is_trained` asks for a trained head and it has none.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = str(model_directory(channel, say)) if channel else name
    tensors = require_folder(Path(source), say) if channel else None
    common: dict[str, Any] = {"local_files_only": channel is not None, "trust_remote_code": False}
    with refusing(source, channel, "config.json"):
        config = AutoConfig.from_pretrained(source, **common)
        has_classifier = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    require_trainable_config(config, has_classifier)
    if tensors is not None:
        require_sizes(config, tensors)
    with refusing(source, channel, "config.json"):
        _set_options(config, say)
        old_names = dict(config.id2label)
        config.id2label = dict(enumerate(classes))
        config.label2id = {label: index for index, label in enumerate(classes)}
        config.problem_type = problem_type
    tokenizer = read_tokenizer(source, channel)
    with refusing(source, channel, "its tokenizer"):
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    most = None if tensors is None else len(tensors)
    with refusing(source, channel, "its weights"), no_pickles(), bounded(most):
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype="float32",
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **common,
        )
    require_weights(model, loaded)
    with refusing(source, channel, "its tokenizer"):
        require_tokenizer(tokenizer, model)
    if hasattr(model, "score"):  # generative models classify by the last token that is not config.pad_token_id
        model.config.pad_token_id = tokenizer.pad_token_id
    require_positions(model, max_sequence_length)
    with refusing(source, channel, "a trial"):
        require_trial(tokenizer, model)
    new = new_weights(loaded)
    if is_trained:
        require_trained_head(new)
    elif any("pooler." in key for key in new):
        say("the model's files have no pooler (the layer before the head): a new one is trained")
    if change := fit_head(model, old_names, classes, new):
        say(change)
    if first_bias is not None:
        _set_head_bias(model, first_bias, new)
    return tokenizer, model


def load_classifier(
    folder: Path, classes: tuple[str, ...], problem_type: str, length: int, precision: str, device: torch.device
) -> tuple[PreTrainedTokenizerBase, Classifier]:
    """A trained model, to classify texts of up to `length` tokens on `device`. Raises SettingsError as load_model."""
    tokenizer, model = load_model(folder, "", classes, problem_type, length, is_trained=True)
    model.to(device)  # type: ignore[arg-type]  # a decorator of transformers hides self
    return tokenizer, make_classifier(model, tokenizer.pad_token_id or 0, Precision(precision, device))


def require_folder(folder: Path, say: Callable[[str], None]) -> dict[str, Tensor]:
    """Check a folder before transformers reads it. Returns the tensors of its files. Raises SettingsError."""
    require_no_adapter(folder)
    require_readable_folder(folder)
    for warning in require_declared(folder):
        say(warning)
    return declared_tensors(folder)


def _set_options(config: Any, say: Callable[[str], None]) -> None:
    """Replace what a configuration asks of the program and not of the model."""
    attention = config._attn_implementation
    if attention not in (None, "eager", "sdpa"):
        say(f"WARNING: config.json asks for attn_implementation={printable(str(attention))}; PyTorch's own is used")
        config._attn_implementation = None
    for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if getattr(config, name, 0):  # CUDA graphs and several GPUs need the same layers in each step
            say(f"WARNING: config.json has {name}={getattr(config, name)}; every step trains all layers")
            setattr(config, name, 0.0)
    config._output_attentions = config.output_hidden_states = False
    config.return_dict = True


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
