"""Padded forward pass, for every architecture that transformers can classify sequences with."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from text_classifier.modeling.precision import Precision
from text_classifier.ops.selftest import choose
from text_classifier.tokenization.tokens import Tokens


class PaddedClassifier(nn.Module):
    """A transformers sequence classifier that reads batches padded to their longest row."""

    name = "padded"
    is_length_grouped = True
    supports_cuda_graphs = False

    def __init__(self, model: PreTrainedModel, pad_id: int, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.pad_id = pad_id
        self.precision = precision
        self.ops = choose(precision.device, precision.dtype, None)
        self.shadow_weights: dict[torch.Tensor, torch.Tensor] = {}  #: none

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """`forward`'s arguments: input_ids and attention_mask (1 for a token), both int64 [rows, longest]."""
        lengths = tokens.lengths[rows]
        attention_mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        input_ids = np.full(attention_mask.shape, self.pad_id, dtype=np.int64)
        input_ids[attention_mask] = tokens.flat(rows)
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask.astype(np.int64)),
        }

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [rows, classes]."""
        with self.precision.autocast():
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
