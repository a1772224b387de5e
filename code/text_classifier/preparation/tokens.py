"""The second part of the prepared data: the tokens of all splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from text_classifier.contract.errors import out_of_memory_preparing
from text_classifier.contract.hyperparameters import Settings
from text_classifier.dataset.load import Data
from text_classifier.preparation.files import (
    map_array,
    map_file,
    published,
    read_manifest,
    wait_for,
    write_array,
    write_manifest,
)
from text_classifier.preparation.rows import map_rows
from text_classifier.runtime.heartbeat import working
from text_classifier.tokenization.tokens import Tokens, tokenize
from text_classifier.tokenization.unknown import unknown_share
from text_classifier.tokenization.windows import Windows, window_stride

#: The folder of this part.
TOKENS = "tokens"


@dataclass(frozen=True)
class Tokenized:
    """The tokens of each split. `digest`: of token ids, targets and classes; equal on hosts with equal data."""

    tokens: Mapping[str, Tokens]
    unknown: Mapping[str, float]  #: share of unknown tokens
    digests: Mapping[str, str]  #: of tokens and targets, as split_digest
    digest: int  #: int64


def prepare_tokens(settings: Settings, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Tokenize the rows that are published in `folder`, and publish their tokens there. Raises JobError."""
    try:
        with working("tokenizing"):
            write_tokens(
                map_rows(settings, folder), tokenizer, settings.max_sequence_length, folder,
                window_stride(asdict(settings)), is_pair=settings.has_pairs, truncation=settings.truncation,
            )  # fmt: skip
    except MemoryError:
        raise out_of_memory_preparing() from None


def write_tokens(
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path,
    stride: int | None = None,
    *,
    is_pair: bool = False,
    truncation: str = "head",
) -> None:
    """Tokenize the texts of all splits, and publish the tokens in `folder`. The last arguments: as in tokenize.

    Raises SettingsError for a tokenizer that fails, PlatformError when the disk is full.
    """
    with published(folder / TOKENS) as part, ThreadPoolExecutor() as threads:
        splits: dict[str, dict[str, Any]] = {}
        digests: dict[str, Future[str]] = {}
        for name, rows in data.splits.items():
            with (part / f"{name}.ids").open("w+b") as file:
                tokens = tokenize(
                    tokenizer, rows.texts, max_length, file, stride=stride, is_pair=is_pair, truncation=truncation
                )
            write_array(part / f"{name}.offsets.npy", tokens.offsets)
            if tokens.windows is not None:
                write_array(part / f"{name}.windows.npy", tokens.windows.first)
                write_array(part / f"{name}.lengths.npy", tokens.windows.lengths)
            if tokens.second is not None:
                write_array(part / f"{name}.second.npy", tokens.second)
            digests[name] = threads.submit(split_digest, tokens, rows.targets)  # while the next split is tokenized
            splits[name] = {"truncated": tokens.truncated, "unknown": unknown_share(tokens.ids, tokenizer)}
        for name, digest in digests.items():
            splits[name]["digest"] = digest.result()
        content = json.dumps([data.classes, {name: facts["digest"] for name, facts in splits.items()}])
        whole = hashlib.blake2b(content.encode(), digest_size=8).digest()
        write_manifest(part, {"splits": splits, "digest": int.from_bytes(whole, "little", signed=True)})


def split_digest(tokens: Tokens, targets: np.ndarray) -> str:
    """A digest of the rows of a split. Checkpoints keep it: it must stay the same for the same rows."""
    digest = hashlib.sha256()
    more = [] if tokens.windows is None else [tokens.windows.first]
    more += [] if tokens.second is None else [tokens.second]
    for array in (tokens.ids, tokens.offsets, targets, *more):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def map_tokens(folder: Path) -> Tokenized:
    """The tokens in `folder`, as soon as they are published. Raises PreparationError if they were refused."""
    part = wait_for(folder / TOKENS)
    manifest = read_manifest(part)
    tokens, unknown, digests = {}, {}, {}
    for name, facts in manifest["splits"].items():
        offsets = map_array(part / f"{name}.offsets.npy")
        ids = np.frombuffer(map_file(part / f"{name}.ids"), dtype=np.int32)
        first, lengths, types = (part / f"{name}.{array}.npy" for array in ("windows", "lengths", "second"))
        windows = Windows(map_array(first), map_array(lengths)) if first.exists() else None
        second = map_array(types) if types.exists() else None
        tokens[name] = Tokens(ids, offsets, facts["truncated"], windows=windows, second=second)
        unknown[name], digests[name] = facts["unknown"], facts["digest"]
    return Tokenized(tokens, unknown, digests, manifest["digest"])
