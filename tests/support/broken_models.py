"""Broken model folders: each key of each file missing, of another type, negative, huge, or at odds with the rest."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What a value is replaced with. MISSING removes the key.
MISSING = "(missing)"
VALUES: tuple[Any, ...] = (
    MISSING, None, True, False, -1, 0, 1, 3, 0.5, -0.5, 1e308, float("nan"), float("inf"), 10**6, 10**10, 10**400,
    "x", "", "\ud800", "a\nb\x1b[31m", [], [1, 2], {}, {"x": {"y": 1}},
)  # fmt: skip

#: Keys that a configuration may have besides those of the model at hand.
OPTIONAL = (
    "auto_map", "attn_implementation", "_attn_implementation", "quantization_config", "torch_dtype", "dtype",
    "tie_word_embeddings", "chunk_size_feed_forward", "problem_type", "rope_scaling", "rope_parameters", "label2id",
    "id2label", "pruned_heads", "output_attentions", "output_hidden_states", "return_dict", "is_decoder",
    "add_cross_attention", "cross_attention_hidden_size", "is_encoder_decoder", "classifier_dropout", "use_cache",
    "transformers_weights", "gradient_checkpointing", "_commit_hash", "_name_or_path", "num_labels", "tokenizer_class",
    "bos_token_id", "eos_token_id", "cls_token_id", "mask_token_id", "model_type", "architectures",
    "transformers_version", "use_kernels", "base_model_tp_plan", "_experts_implementation", "sub_configs",
    "text_config", "torchscript", "task_specific_params", "finetuning_task", "temperature", "max_length", "do_sample",
)  # fmt: skip

#: Keys of the tokenizer's configuration besides those at hand.
OPTIONAL_TOKENIZER = (
    "auto_map", "backend", "model_max_length", "padding_side", "truncation_side", "pad_token", "unk_token", "cls_token",
    "sep_token", "mask_token", "bos_token", "eos_token", "additional_special_tokens", "extra_special_tokens",
    "added_tokens_decoder", "tokenizer_class", "tokenizer_file", "vocab_file", "chat_template", "do_lower_case",
    "strip_accents", "model_input_names", "clean_up_tokenization_spaces", "split_special_tokens", "add_prefix_space",
    "add_bos_token", "add_eos_token", "stride", "max_length", "truncation_strategy", "pad_to_multiple_of",
    "name_or_path", "is_local", "local_files_only", "processor_class", "special_tokens_map_file", "fix_mistral_regex",
)  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """One way to break a model folder."""

    name: str
    apply: Callable[[Path], None]


def broken_models(folder: Path) -> list[Broken]:
    """All ways to break a copy of this folder."""
    return [
        *_of_json(folder, "config.json", OPTIONAL),
        *_of_json(folder, "tokenizer_config.json", OPTIONAL_TOKENIZER),
        *_of_json(folder, "tokenizer.json", ()),
        *_of_header(folder / "model.safetensors"),
        *_of_new_files(),
    ]


def _of_json(folder: Path, name: str, optional: tuple[str, ...]) -> Iterator[Broken]:
    content = json.loads((folder / name).read_text())
    paths = [path for path in _paths(content) if path[:2] != ("model", "vocab") or len(path) == 2]
    paths += [(key,) for key in optional if key not in content]
    for path in paths:
        for value in VALUES:
            if value is MISSING and path[0] not in content:
                continue
            label = f"{name} {'.'.join(map(str, path))}={_shown(value)}"
            yield Broken(label, lambda folder, path=path, value=value: _edit(folder / name, path, value))


def _paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        if len(path) < 3:
            yield from _paths(value, (*path, key))


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**12 else f"{'-' * (value < 0)}huge"
    return text.encode("unicode_escape").decode()


def _edit(file: Path, path: tuple[Any, ...], value: Any) -> None:
    content = json.loads(file.read_text())
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = copy.deepcopy(value)
    file.write_text(json.dumps(content))


def read_header(file: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes after it."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_header(file: Path, header: Any, data: bytes) -> None:
    """Write a safetensors file with any header."""
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _of_header(file: Path) -> Iterator[Broken]:
    header, _ = read_header(file)
    names = sorted(name for name in header if name != "__metadata__")
    chosen = [names[0], next(name for name in names if "word_embeddings.weight" in name), names[-1]]
    changes: list[tuple[str, Any]] = [
        ("dtype", "F16"), ("dtype", "I64"), ("dtype", "x"), ("dtype", 1), ("dtype", "F8_E4M3"), ("dtype", MISSING),
        ("shape", [10**10, 32]), ("shape", [-1, 32]), ("shape", []), ("shape", "x"), ("shape", [0, 0]),
        ("shape", [2**63, 2**63]), ("shape", MISSING), ("shape", [1.5]), ("data_offsets", [0, 10**12]),
        ("data_offsets", [8, 0]), ("data_offsets", [-8, 8]), ("data_offsets", []), ("data_offsets", MISSING),
        ("data_offsets", "x"),
    ]  # fmt: skip
    for name in chosen:
        for key, value in changes:
            yield Broken(
                f"{file.name} {name}.{key}={_shown(value)}",
                lambda folder, name=name, key=key, value=value: _edit_header(folder / file.name, (name, key), value),
            )
        for value in (MISSING, None, 1, [], {}, "x"):
            yield Broken(
                f"{file.name} {name}={_shown(value)}",
                lambda folder, name=name, value=value: _edit_header(folder / file.name, (name,), value),
            )


def _edit_header(file: Path, path: tuple[str, ...], value: Any) -> None:
    header, data = read_header(file)
    parent = header if len(path) == 1 else header[path[0]]
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    write_header(file, header, data)


def _of_new_files() -> Iterator[Broken]:
    contents = {
        "nothing": b"",
        "a brace": b"{",
        "a list": b"[]",
        "null": b"null",
        "deep": b"[" * 100_000,
        "UTF-16": "{}".encode("utf-16"),
    }
    for name in (
        "generation_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
        "model.safetensors.index.json", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors",
        "vocab.txt", "preprocessor_config.json", "processor_config.json", "config.generation.json",
    ):  # fmt: skip
        for label, content in contents.items():
            yield Broken(
                f"{name} is {label}", lambda folder, name=name, content=content: _write(folder / name, content)
            )


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)
