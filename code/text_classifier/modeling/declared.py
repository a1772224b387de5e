"""The JSON files of a model folder, checked before transformers reads them: a mistake names file and key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, __version__

from text_classifier.contract.errors import printable, quoted
from text_classifier.modeling.refusal import refused, unreadable

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

#: Bytes. Those of published models have some kilobytes; with 100,000 class names some megabytes.
_LARGEST = 50_000_000

#: Names of outputs, over which transformers goes in Python several times.
_MOST_LABELS = 100_000

_TEXT, _OBJECT, _NUMBER = (str,), (dict,), (int, float)

#: The types of keys whose values transformers uses without a check. null stands for a key that is not there.
_TYPES: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    CONFIG: {
        "model_type": _TEXT, "hidden_act": _TEXT, "activation": _TEXT, "activation_function": _TEXT, "dtype": _TEXT,
        "torch_dtype": _TEXT, "transformers_weights": _TEXT, "id2label": _OBJECT, "auto_map": _OBJECT,
        "quantization_config": _OBJECT, "rope_scaling": _OBJECT, "rope_parameters": _OBJECT,
        "attn_implementation": _TEXT, "_attn_implementation": _TEXT, "num_labels": (int,),
    },
    TOKENIZER_CONFIG: {
        "tokenizer_class": _TEXT, "auto_map": (dict, list), "added_tokens_decoder": _OBJECT,
        "model_max_length": _NUMBER, "padding_side": _TEXT, "truncation_side": _TEXT,
        **dict.fromkeys(
            ("unk_token", "pad_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token"), (str, dict)
        ),
    },
}  # fmt: skip

#: Keys of config.json whose value must be in a range: (from, up to, but not). Beyond it a model is built all the same,
#: and gives the same for every text, or nan.
_RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout", "attention_dropout",
         "seq_classif_dropout", "embedding_dropout", "mlp_dropout"),
        (0, 1),
    ),
    **dict.fromkeys(("layer_norm_eps", "norm_eps", "layer_norm_epsilon"), (0, 0.1)),
    "initializer_range": (0, 10),
    "num_labels": (1, _MOST_LABELS + 1),  # transformers makes a name for each
}  # fmt: skip


def require_declared(folder: Path) -> list[str]:
    """Raise SettingsError for values in the folder's JSON files that cannot be right. Returns warnings, for the log."""
    config = read_object(folder / CONFIG)
    tokenizer = read_object(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).exists() else {}
    for name, content in ((CONFIG, config), (TOKENIZER_CONFIG, tokenizer)):
        _require_types(name, content)
    if tokenizer.get("unk_token") == "":  # transformers looks for its id without end
        raise refused(f"{TOKENIZER_CONFIG} has an empty unk_token")
    for key, (low, high) in _RANGES.items():
        value = config.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, _NUMBER) or not low <= value < high):
            raise refused(f"{CONFIG} has {key}={quoted(value)}, which is not at least {low} and less than {high}")
    for key in ("id2label", "label2id"):
        value = config.get(key)
        if isinstance(value, dict) and len(value) > _MOST_LABELS:
            raise refused(f"{CONFIG} has {len(value):,} entries in {key}, and at most {_MOST_LABELS:,} are read")
    family = config.get("model_type")
    if family is not None and family not in CONFIG_MAPPING:
        own = ", and its own code (auto_map) is never run" if config.get("auto_map") else ""
        raise refused(
            f"{CONFIG} has model_type={quoted(family)}, which is no model of transformers {__version__}{own}",
            "use a model of the BERT family",
        )
    quantization = config.get("quantization_config")
    if quantization is not None:
        method = quoted(quantization.get("quant_method", "unknown method"))
        raise refused(
            f"its weights are quantized (quantization_config in {CONFIG}: {method})",
            "provide the unquantized model",
        )
    weights = config.get("transformers_weights")
    if weights and (Path(weights).name != weights or not (folder / weights).is_file()):
        raise refused(f"{CONFIG} has transformers_weights={quoted(weights)}, which is not in the folder")
    return [
        f"WARNING: {name} of the model names code of its own (auto_map), which is never run"
        for name, content in ((CONFIG, config), (TOKENIZER_CONFIG, tokenizer))
        if content.get("auto_map")
    ]


def require_no_adapter(folder: Path) -> None:
    """Raise SettingsError for a PEFT adapter."""
    path = folder / "adapter_config.json"
    if path.exists():
        base = read_object(path).get("base_model_name_or_path")
        raise refused(
            f"the folder holds a PEFT adapter{f' of {quoted(base)}' if base else ''}, not a whole model",
            "merge it into its base model (merge_and_unload) and save that with save_pretrained",
        )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of the model. Raises SettingsError if there is none."""
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST // 1_000_000} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # transformers writes it again, when the job ends
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeEncodeError:
        raise refused(f"{path.name} has characters that are not Unicode (lone surrogates)") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError too
        raise refused(f"{path.name} is not valid JSON in UTF-8 ({printable(str(error))[:200]})") from None
    if not isinstance(content, dict):
        raise refused(f"{path.name} does not hold a JSON object")
    return content


def _require_types(name: str, content: Mapping[str, Any]) -> None:
    for key, types in _TYPES[name].items():
        value = content.get(key)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            wanted = " or ".join(_NAMES[each] for each in types)
            raise refused(f"{name} has {key}={quoted(value)}, which is not {wanted}")


_NAMES = {str: "a string", dict: "an object", list: "a list", int: "an integer", float: "a number"}
