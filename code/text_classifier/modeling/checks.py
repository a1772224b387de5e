"""Whether a model folder, its tokenizer and its weights go together: each mismatch is one sentence before training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from text_classifier.contract.errors import SettingsError, listed

#: Files of which a tokenizer needs one: the library's own, and the vocabularies of the families.
_VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model",
    "tokenizer.model", "source.spm",
)  # fmt: skip

_LFS = b"version https://git-lfs.github.com/spec/"

#: Sizes in a configuration that are sizes of tensors too.
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "type_vocab_size", "embedding_size", "num_attention_heads",
)  # fmt: skip

#: Names of position embeddings in the weights.
_POSITIONS = re.compile(r"position_embeddings?\.|position_emb\.|\bwpe\.|embed_positions\.")

#: ALBERT's layers share their weights: its large models have about as many layers as tensors.
_LAYERS_PER_WEIGHT = 4

#: The format's own limit, in bytes.
_LONGEST_HEADER = 100_000_000

#: A tokenizer with fewer tokens than this share of the embedding's rows belongs to another model.
_LEAST_SHARE = 0.25

_LAYER = re.compile(r"\.layers?\.\d+\.")


def require_readable_folder(folder: Path) -> None:
    """Raise SettingsError for a folder that cannot be loaded for a reason that transformers does not name."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise _refused(f"{path.name} is a Git LFS pointer, not the file itself", "run `git lfs pull` first")
    if (folder / "adapter_config.json").exists():
        raise _refused(
            "the folder holds a PEFT adapter, not a whole model",
            "merge it into its base model (merge_and_unload) and save that with save_pretrained",
        )
    if not any((folder / name).exists() for name in _VOCABULARIES):
        raise _refused(
            f"it has no tokenizer (none of {', '.join(_VOCABULARIES[:4])} ...)",
            "save the tokenizer beside the model with save_pretrained",
        )


def require_trainable_config(config: Any, has_classifier: bool) -> None:
    """Raise SettingsError for a configuration that no classifier can be trained with."""
    family = config.model_type
    if getattr(config, "quantization_config", None):
        raise _refused("its weights are quantized (quantization_config)", "give the model before quantization")
    if family == "xlnet":
        raise _refused(
            "XLNet classifies by the last token and by segments, which the padded batches of this trainer do not keep",
            "use a model of the BERT family",
        )
    if getattr(config, "is_encoder_decoder", False):
        raise _refused(f"it is an encoder-decoder ({family})", "use a model of the BERT family")
    if not has_classifier:
        raise _refused(f"transformers has no classifier of the family {family!r}", "use one of the BERT family")
    for name in ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size"):
        value = getattr(config, name, None)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise _refused(f"config.json has {name}={value!r}", "save it again with save_pretrained")


def require_sizes(config: Any, folder: Path) -> None:
    """Raise SettingsError for sizes in config.json that no tensor of the weights has: building such a model may take
    all memory, or forever."""
    shapes = {name: shape for path in folder.glob("*.safetensors") for name, shape in _shapes(path).items()}
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    limits = dict.fromkeys(_SIZES, largest)
    if any(_POSITIONS.search(name) for name in shapes):  # rotary and relative positions have no weights
        limits["max_position_embeddings"] = largest
    limits["num_hidden_layers"] = _LAYERS_PER_WEIGHT * len(shapes)
    for name, limit in limits.items():
        value = getattr(config, name, None)
        if isinstance(value, int) and value > limit > 0:
            raise _refused(
                f"config.json has {name}={value}, and the weights nothing as large",
                "save it again with save_pretrained",
            )


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file by name, from its header; none if it is damaged."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def require_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raise SettingsError if the tokenizer is not the model's: a token without a row in the embedding, or a vocabulary
    far below it."""
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.num_embeddings
    vocabulary = tokenizer.get_vocab()
    highest = max(vocabulary.values(), default=-1)
    if highest >= rows:
        raise _refused(
            f"its tokenizer gives token ids up to {highest}, its embedding has {rows} rows",
            "use the tokenizer that the model was trained with",
        )
    if len(vocabulary) < _LEAST_SHARE * rows:
        raise _refused(
            f"its tokenizer has {len(vocabulary):,} tokens, its embedding {rows:,} rows",
            "use the tokenizer that the model was trained with",
        )
    if tokenizer.pad_token_id is None:
        raise _refused(
            f"its tokenizer has no padding token, as those of generative models ({model.config.model_type})",
            "use a model of the BERT family",
        )


def require_weights(model: PreTrainedModel, loaded: Mapping[str, Any]) -> None:
    """Raise SettingsError if weights other than the head's were not in the file, or the file has more layers."""
    prefix = f"{model.base_model_prefix}."
    base = {key.removeprefix(prefix) for key in model.state_dict() if key.startswith(prefix)}
    absent = [key for key in new_weights(loaded) if key.removeprefix(prefix) in base and "pooler." not in key]
    if absent:
        raise _refused(
            f"its weights lack {listed(sorted(absent), 2)}, or have them in another size than config.json says",
            "save it again with save_pretrained",
        )
    more = [key for key in loaded["unexpected_keys"] if _LAYER.search(f".{key}")]
    if more:
        raise _refused(
            f"its weights have layers that config.json does not ({listed(sorted(more), 2)})",
            "save it again with save_pretrained",
        )


def require_trained_head(new: Iterable[str]) -> None:
    """Raise SettingsError if weights were not in the file: they are random, and so would the predictions be."""
    if names := sorted(new):
        raise _refused(
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


def new_weights(loaded: Mapping[str, Iterable[Any]]) -> set[str]:
    """The names of the weights that were not in the file, or there in another size."""
    return {*loaded["missing_keys"], *(key[0] for key in loaded["mismatched_keys"])}


def _refused(what: str, remedy: str) -> SettingsError:
    return SettingsError(f"the model cannot be used: {what}; {remedy}")
