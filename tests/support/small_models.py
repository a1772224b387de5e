"""Small classifiers of each packed family, and rows of random tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from text_classifier.tokenization.tokens import Tokens
from text_classifier.tokenization.windows import Windows
from text_classifier.training.batches import Split

LENGTHS = [[60, 60, 50, 31, 7, 2, 2], [9], [5, 5, 5, 5], [40, 3]]

FAMILIES = {
    "bert": (transformers.BertConfig, {}),
    "roberta": (transformers.RobertaConfig, {"pad_token_id": 1}),
    "xlm-roberta": (transformers.XLMRobertaConfig, {"pad_token_id": 1}),
    "camembert": (transformers.CamembertConfig, {"pad_token_id": 1}),
    "data2vec-text": (transformers.Data2VecTextConfig, {"pad_token_id": 1}),
    "electra": (transformers.ElectraConfig, {"embedding_size": 16}),
    "distilbert": (transformers.DistilBertConfig, {}),
}


def model_of(family: str, **options: Any) -> PreTrainedModel:
    """A small model without dropout, with random weights large enough that a wrong one shows."""
    config_class, extra = FAMILIES[family]
    if family == "distilbert":
        shape: dict[str, Any] = {
            "dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 64,
            "dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0,
        }  # fmt: skip
    else:
        shape = {
            "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 64,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        }  # fmt: skip
    shape |= extra | options
    config = config_class(vocab_size=120, max_position_embeddings=70, num_labels=3, **shape)
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def split_of(lengths: list[int]) -> Split:
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(5, 120, offsets[-1]).astype(np.int32)
    return Split(Tokens(ids, offsets), random.integers(0, 3, len(lengths)))


def in_windows(split: Split, counts: list[int]) -> Split:
    """The rows as windows of texts, so many of each."""
    first = np.concatenate([[0], np.cumsum(counts)])
    windows = Windows(first, np.add.reduceat(split.tokens.lengths, first[:-1]))
    return Split(replace(split.tokens, windows=windows), split.targets[: len(counts)])


def pairs_of(lengths: list[int]) -> Split:
    """As `split_of`, with the second text of a pair from any of the tokens on; in one row there is none."""
    split = split_of(lengths)
    second = np.random.default_rng(2).integers(1, lengths).astype(np.int32)
    second[-1] = lengths[-1]
    return replace(split, tokens=replace(split.tokens, second=second))


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    tensors = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return tensors
