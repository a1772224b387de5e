"""Whether a model folder, its tokenizer and its weights go together: each mismatch is one sentence before training."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.activations import ACT2FN

from text_classifier.contract.errors import SettingsError, listed, printable, quoted
from text_classifier.modeling.refusal import refused, unreadable
from text_classifier.modeling.tensors import Tensor

#: Files of which a tokenizer needs one: the library's own, and the vocabularies of the families.
_VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model",
    "tokenizer.model", "source.spm",
)  # fmt: skip

#: Bytes of a tokenizer's file. Those of vocabularies of 250,000 tokens have 20 MB.
_LARGEST_VOCABULARY = 500_000_000

#: Characters that a tokenizer may make of one: with more, a long text fills the memory.
_MOST_GROWTH = 1_000

_LFS = b"version https://git-lfs.github.com/spec/"

#: Sizes in a configuration that are sizes of tensors too.
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "type_vocab_size", "embedding_size", "num_attention_heads",
)  # fmt: skip

#: Names of position embeddings in the weights.
_POSITIONS = re.compile(r"position_embeddings?\.|position_emb\.|\bwpe\.|embed_positions\.")

#: ALBERT's layers share their weights: its large models have about as many layers as tensors.
_LAYERS_PER_WEIGHT = 4

#: A tokenizer with fewer tokens than this share of the embedding's rows belongs to another model.
_LEAST_SHARE = 0.25

_LAYER = re.compile(r"\.layers?\.\d+\.")

#: Texts of a trial: an empty one, words, characters that no vocabulary has, and a word longer than any limit.
_TRIAL = ("", "a b", "\U0010fffd \u4e2d\u0000 \t", "x" * 300)

#: Tokens of the trial: fewer than the positions of any model.
_TRIAL_TOKENS = 4


def require_readable_folder(folder: Path) -> None:
    """Raise SettingsError for a folder that cannot be loaded for a reason that transformers does not name."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            with path.open("rb") as file:
                start = file.read(len(_LFS))
        except OSError as error:
            raise unreadable(path, error) from None
        if start == _LFS:
            raise refused(f"{printable(path.name)} is a Git LFS pointer, not the file", "run `git lfs pull` first")
        if path.suffix in (".json", ".txt", ".model") and path.stat().st_size > _LARGEST_VOCABULARY:
            raise refused(f"{printable(path.name)} is larger than {_LARGEST_VOCABULARY // 1_000_000} MB")
    if not any((folder / name).exists() for name in _VOCABULARIES):
        raise refused(
            f"it has no tokenizer (none of {', '.join(_VOCABULARIES[:4])} ...)",
            "save the tokenizer beside the model with save_pretrained",
        )


def require_trainable_config(config: Any, has_classifier: bool) -> None:
    """Raise SettingsError for a configuration that no classifier can be trained with."""
    family = config.model_type
    if getattr(config, "quantization_config", None) is not None:  # of a model on the hub; in a folder: declared.py
        raise refused("its weights are quantized (quantization_config)", "provide the unquantized model")
    if family == "xlnet":
        raise refused(
            "XLNet classifies by the last token and by segments, which the padded batches of this trainer do not keep",
            "use a model of the BERT family",
        )
    if getattr(config, "is_encoder_decoder", False):
        raise refused(f"it is an encoder-decoder ({family})", "use a model of the BERT family")
    if not has_classifier:
        raise refused(f"transformers has no classifier of the family {family!r}", "use one of the BERT family")
    for name in ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size"):
        value = getattr(config, name, None)
        if value is not None and (type(value) is not int or value < 1):
            raise refused(f"config.json has {name}={quoted(value)}")
    for name in ("hidden_act", "activation", "activation_function"):
        value = getattr(config, name, None)
        if isinstance(value, str) and value not in ACT2FN:
            raise refused(f"config.json has {name}={quoted(value)}, which is no activation of transformers")
    pad, rows = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if type(pad) is int and type(rows) is int and not 0 <= pad < rows:
        raise refused(f"config.json has pad_token_id={quoted(pad)}, and vocab_size={rows}")


def require_sizes(config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise SettingsError for sizes in config.json that no tensor of the weights has: building such a model may take
    all memory, or forever."""
    largest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    limits = dict.fromkeys(_SIZES, largest)
    if any(_POSITIONS.search(name) for name in tensors):  # rotary and relative positions have no weights
        limits["max_position_embeddings"] = largest
    limits["num_hidden_layers"] = _LAYERS_PER_WEIGHT * len(tensors)
    for name, limit in limits.items():
        value = getattr(config, name, None)
        if isinstance(value, int) and value > limit > 0:
            raise refused(f"config.json has {name}={quoted(value)}, but no tensor in the weights is that large")


def require_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raise SettingsError if the tokenizer is not the model's: a token without a row in the embedding, or a vocabulary
    far below it."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normalizer is not None and (growth := _growth(json.loads(normalizer.__getstate__()))) > _MOST_GROWTH:
        raise refused(
            f"its tokenizer makes up to {growth:,} characters of one (normalizer in tokenizer.json)",
            "use the tokenizer that the model was trained with",
        )
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.num_embeddings
    vocabulary = tokenizer.get_vocab()
    # Special tokens that are put around each text have ids of their own in tokenizer.json.
    highest = max([*vocabulary.values(), *tokenizer("")["input_ids"]], default=-1)
    if highest >= rows:
        raise refused(
            f"its tokenizer gives token ids up to {highest}, its embedding has {rows} rows",
            "use the tokenizer that the model was trained with",
        )
    if len(vocabulary) < _LEAST_SHARE * rows:
        raise refused(
            f"its tokenizer has {len(vocabulary):,} tokens, its embedding {rows:,} rows",
            "use the tokenizer that the model was trained with",
        )
    if tokenizer.pad_token_id is None:
        raise refused(
            f"its tokenizer has no padding token, as those of generative models ({model.config.model_type})",
            "use a model of the BERT family",
        )


def _growth(normalizer: Mapping[str, Any]) -> int:
    """How many characters the replacements of a normalizer in tokenizer.json make of one, at most."""
    if normalizer["type"] == "Sequence":
        return math.prod(map(_growth, normalizer["normalizers"]))
    if normalizer["type"] != "Replace":
        return 1
    # A regular expression may match between any two characters.
    length, pattern = len(normalizer["content"]), normalizer["pattern"].get("String")
    return length + 1 if pattern is None else max(1, math.ceil(length / max(1, len(pattern))))


def require_weights(model: PreTrainedModel, loaded: Mapping[str, Any]) -> None:
    """Raise SettingsError if weights other than the head's were not in the file, or the file has more layers."""
    prefix = f"{model.base_model_prefix}."
    base = {key.removeprefix(prefix) for key in model.state_dict() if key.startswith(prefix)}
    absent = [key for key in new_weights(loaded) if key.removeprefix(prefix) in base and "pooler." not in key]
    if absent:
        raise refused(f"its weights lack {listed(sorted(absent), 2)}, or their shapes do not match config.json")
    more = [key for key in loaded["unexpected_keys"] if _LAYER.search(f".{key}")]
    if more:
        raise refused(f"its weights have layers that config.json does not ({listed(sorted(more), 2)})")


def require_trial(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raise SettingsError for weights that are not finite, or logits. Whatever a library raises here, it would raise
    in training, or when the trained model is saved."""
    for name, parameter in model.named_parameters():
        # The sum takes a third of the time, and is finite if all are; finite numbers may overflow it.
        if not (torch.isfinite(parameter.sum()) or torch.isfinite(parameter).all()):
            raise refused(f"its weights are not finite ({name})", "use an earlier checkpoint of its training")
    ids = [tokenizer(text)["input_ids"] for text in _TRIAL]
    longest = max(ids, key=len)[:_TRIAL_TOKENS]
    with torch.no_grad():
        inputs = torch.tensor([longest], dtype=torch.int64)
        logits = model.eval()(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits
    if not torch.isfinite(logits).all():
        raise refused("its logits for a short text are not finite", "look for extreme values in config.json")
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def require_trained_head(new: Iterable[str]) -> None:
    """Raise SettingsError if weights were not in the file: they are random, and so would the predictions be."""
    if names := sorted(new):
        raise refused(
            f"its head is not trained (the weights lack {listed(names, 2)})", "give the model that a training job saved"
        )


def require_positions(model: PreTrainedModel, max_length: int) -> None:
    """Raise SettingsError if texts of `max_length` tokens are longer than the model's positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    for name, module in model.named_modules():
        # RoBERTa's and MPNet's positions start after the padding id.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            positions = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    if 0 < positions < max_length:
        raise SettingsError(f"max_sequence_length={max_length} exceeds the model's {positions} positions; lower it")


def require_token_types(model: PreTrainedModel) -> None:
    """Raise SettingsError if the model has an embedding for token types, but none for type 1."""
    for name, module in model.named_modules():
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding) and module.num_embeddings < 2:
            raise refused(
                "its tokenizer gives the second text of a pair token type 1, and config.json has type_vocab_size=1",
                "join the texts (name all columns in text_columns), or use a model that was trained on pairs",
            )


def new_weights(loaded: Mapping[str, Iterable[Any]]) -> set[str]:
    """The names of the weights that were not in the file, or there in another size."""
    return {*loaded["missing_keys"], *(key[0] for key in loaded["mismatched_keys"])}
