"""The model of `serve`: loads a model folder and computes the logits of batches."""

from __future__ import annotations

import copy
import ctypes
import gc
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, PreTrainedTokenizerBase

from text_classifier.contract.errors import SettingsError, quoted
from text_classifier.contract.schema import MANIFEST
from text_classifier.contract.trained import read_manifest, truncation_of
from text_classifier.modeling.files import model_directory
from text_classifier.modeling.load import Classifier, load_classifier, require_folder
from text_classifier.modeling.packed import PackedClassifier
from text_classifier.modeling.refusal import refused, refusing
from text_classifier.modeling.tokenizer import read_tokenizer
from text_classifier.reading.columns import names_of
from text_classifier.reading.pairs import pair
from text_classifier.serving.batching import Row
from text_classifier.serving.responses import Outputs
from text_classifier.tasks.registry import task_of
from text_classifier.tokenization.chunks import regular_expressions
from text_classifier.tokenization.pairs import encode_pairs, has_types
from text_classifier.tokenization.prefix import encoded
from text_classifier.tokenization.tokens import Tokens, divided, encoder
from text_classifier.tokenization.truncation import cutting_encoder
from text_classifier.tokenization.windows import Windowing, Windows, starts, window_stride
from text_classifier.training.batches import Split
from text_classifier.training.device import select_device
from text_classifier.training.inference import batch_logits

#: Tokens of a batch, at most: beyond them matmuls gain nothing.
MOST_TOKENS = {"cpu": 4_096, "cuda": 16_384}

#: Of a model that another trainer has saved: texts are truncated here, if it has as many positions.
LONGEST = 512

#: Tokens of a text, at least: two special ones, and one of the text.
SHORTEST = 3

#: Tasks by the name that transformers gives them.
TASKS = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}


class PairRow(list[int]):
    """The token ids of a pair. `second`: as in Tokens."""

    def __init__(self, ids: Sequence[int], second: int) -> None:
        super().__init__(ids)
        self.second = second


class ServedModel:
    """A classifier with its tokenizer. Any thread may encode; one thread computes."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        classifier: Classifier,
        device: torch.device,
        max_length: int,
        outputs: Outputs,
        text_columns: tuple[str, ...] = (),
        stride: int | None = None,  # None: long texts are truncated
        pair_columns: tuple[str, ...] = (),
        truncation: str = "head",
    ) -> None:
        self._windowing = None if stride is None else Windowing.of(tokenizer, max_length, stride)
        self.max_length = max_length
        self.longest_text = self._windowing.longest if self._windowing else max_length
        self.outputs = outputs
        self.text_columns = text_columns
        self.pair_columns = pair_columns
        self.patterns: Sequence[str] = regular_expressions(tokenizer)
        self.is_padded = not isinstance(classifier, PackedClassifier)
        self.most_tokens = MOST_TOKENS[device.type]
        self.device = device
        self._is_pair = bool(pair_columns)
        self._is_typed = self._is_pair and has_types(tokenizer)
        self._truncation = truncation
        self._encode = encoder(tokenizer, max_length, stride, is_pair=self._is_pair, truncation=truncation)
        if isinstance(classifier, PackedClassifier):
            classifier.freeze()
        else:
            text = self._encode([pair("any", "text") if self._is_pair else "any text"])
            classifier.freeze(Tokens(text.ids, starts([text.counts]), second=text.second))
        self._classifier = classifier
        # The encoder's tokenizer has its truncation set for good.
        self._tokenizer, self._lock = copy.deepcopy(tokenizer), threading.Lock()

    @property
    def description(self) -> str:
        """What is served, for the log."""
        classifier = self._classifier
        kind = self.outputs.task.problem_type.replace("_", " ")
        classes = "" if kind == "regression" else f"{len(self.outputs.classes)} classes"
        unit = "window" if self._windowing else "text"
        parts = [kind, classes, f"{self.max_length} tokens a {unit}", classifier.precision.name, str(self.device)]
        return ", ".join(filter(None, parts))

    def encode(self, texts: list[str]) -> tuple[list[list[int]], int, Windows | None]:
        """As web.TextModel.encode."""
        found = self._encode(texts)
        return _with_types(found.lists(), found.second), found.truncated, found.windows

    def encode_to(
        self, texts: list[str], max_length: int | None, *, truncates: bool
    ) -> tuple[list[list[int]], Windows | None]:
        """As web.TextModel.encode_to.

        Raises ValueError with the index of the first longer text if it may not be truncated.
        """
        limit = min(max_length, self.max_length) if max_length else self.longest_text
        rows = self._encode_to(texts, limit if truncates else None)
        for index, ids in enumerate(rows):
            if len(ids) > limit:
                raise ValueError(index, len(ids), limit)
        if self._windowing is None:
            return rows, None
        found = divided(encoded(rows, 0), self._windowing)
        return found.lists(), found.windows

    def _encode_to(self, texts: list[str], max_length: int | None) -> list[list[int]]:
        """As `encode_to`; without `max_length` nothing is truncated."""
        with self._lock:
            if self._is_pair:
                found = encode_pairs(self._tokenizer, texts, max_length=max_length, is_typed=self._is_typed)
                return _with_types(found.lists(), found.second)
            if max_length is not None and self._truncation != "head":
                return cutting_encoder(self._tokenizer, max_length, self._truncation)(texts).lists()
            rows: list[list[int]] = self._tokenizer(
                texts,
                truncation=max_length is not None,
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
            return rows

    def logits(self, rows: Sequence[Row]) -> np.ndarray:
        """As batching.Model.logits."""
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        ids = np.fromiter((id for row in rows for id in row), dtype=np.int32, count=int(lengths.sum()))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        second = None
        if any(isinstance(row, PairRow) for row in rows):
            second = np.array([row.second if isinstance(row, PairRow) else len(row) for row in rows], dtype=np.int32)
        split = Split(Tokens(ids, offsets, second=second), np.zeros(len(rows), dtype=np.int64))
        with torch.inference_mode():
            order, found = batch_logits(self._classifier, split, np.arange(len(rows)), self.device)
            logits = np.empty(found.shape, dtype=np.float32)
            logits[order] = found.cpu().numpy()
        return logits


def _with_types(rows: list[list[int]], second: Iterable[int] | None) -> list[list[int]]:
    """The rows with their token types, which are not all 0 if `second` is given."""
    return rows if second is None else [PairRow(ids, int(index)) for ids, index in zip(rows, second, strict=True)]


def load(folder: Path) -> ServedModel:
    """The model in a folder: one that the image has trained, or any sequence classifier of save_pretrained.

    Raises SettingsError.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise SettingsError(f"{folder} has no model; mount the folder that model.tar.gz was unpacked to")
    folder = model_directory(folder, print)
    described = _by_manifest(folder) if (folder / MANIFEST).is_file() else _by_config(folder)
    outputs: Outputs = described["outputs"]
    device = select_device()
    tokenizer, classifier = load_classifier(
        folder,
        tuple(outputs.classes),
        outputs.task.problem_type,
        described["max_length"],
        described.pop("precision"),
        device,
    )
    if note := described.pop("note", ""):
        print(note, flush=True)
    served = ServedModel(tokenizer, classifier, device, **described)
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # gives back what loading took
    gc.freeze()  # the model and the libraries live as long as the process
    return served


def _by_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says. Raises SettingsError."""
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        raise SettingsError(f"{folder / MANIFEST} cannot be read; unpack model.tar.gz again") from None
    settings = manifest["hyperparameters"]
    is_stopped = manifest.get("status") == "stopped"
    return {
        "outputs": Outputs(task_of(settings), manifest["classes"], manifest["temperature"]),
        "max_length": settings["max_sequence_length"],
        "precision": settings["precision"],
        "text_columns": names_of(settings["text_columns"], "text_columns"),
        "stride": window_stride(settings),
        "truncation": truncation_of(manifest),
        "pair_columns": names_of(settings.get("text_pair_columns", ""), "text_pair_columns"),
        "note": f"WARNING: training was stopped after step {manifest['steps']}" if is_stopped else "",
    }


def _by_config(folder: Path) -> dict[str, Any]:
    """What the configuration says, as transformers reads it. Raises SettingsError."""
    require_folder(folder, lambda warning: None)  # they are said when the model is loaded
    with refusing(str(folder), folder, "config.json"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        classes = [str(config.id2label[index]) for index in range(config.num_labels)]
        # transformers' pipeline gives a single output the sigmoid, too.
        by_outputs = "multi_label_classification" if len(classes) == 1 else "single_label_classification"
        problem = config.problem_type or by_outputs
        if problem not in TASKS:
            raise refused(f"config.json has problem_type={quoted(problem)}, which is none of {', '.join(TASKS)}")
        positions = _positions(config)
    tokenizer = read_tokenizer(str(folder), folder)
    with refusing(str(folder), folder, "its tokenizer"):
        max_length = int(min(LONGEST, positions, tokenizer.model_max_length))
    if max_length < SHORTEST:
        raise refused(
            f"it reads {max_length} tokens of a text (model_max_length in tokenizer_config.json, "
            "max_position_embeddings in config.json)"
        )
    return {
        "outputs": Outputs(task_of({"task": TASKS[problem], "label_separator": ","}), classes, None),
        "max_length": max_length,
        "precision": "auto",
    }


def _positions(config: Any) -> int:
    """The longest text in tokens: in families like RoBERTa positions start after the padding token's."""
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    starts_after_padding = any(name in config.model_type for name in ("roberta", "camembert", "mpnet", "data2vec"))
    return positions - (config.pad_token_id or 0) - 1 if starts_after_padding else positions
