"""Padded forward pass, for every architecture that transformers can classify sequences with."""

from __future__ import annotations

import inspect

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
        self._reads_types = "token_type_ids" in inspect.signature(model.forward).parameters

    @torch.no_grad()
    def freeze(self, tokens: Tokens) -> None:
        """As `eval`, for good: linear layers' weights are cast once instead of in each forward pass. Same logits.

        A model that has other logits then for these tokens of any text, or none, stays as it is: it computes some layer
        without autocast.
        """
        self.eval()
        if self.precision.dtype == torch.float32:
            return
        inputs = self.inputs(tokens, np.arange(len(tokens)))
        inputs = {name: tensor.to(self.precision.device) for name, tensor in inputs.items()}
        expected = self(**inputs)
        before = [
            (part, part.data) for module in self.modules() if type(module) is nn.Linear for part in module.parameters()
        ]
        for part, data in before:
            part.data = data.to(self.precision.dtype)
        try:
            is_same = torch.equal(self(**inputs), expected)
        except RuntimeError:  # two dtypes in one matmul
            is_same = False
        if not is_same:
            for part, data in before:
                part.data = data

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """`forward`'s arguments: input_ids, attention_mask (1 for a token), and token_type_ids where tokens have other
        types than 0 and the model reads them, all int64 [rows, longest]."""
        lengths = tokens.lengths[rows]
        attention_mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        input_ids = np.full(attention_mask.shape, self.pad_id, dtype=np.int64)
        input_ids[attention_mask] = tokens.flat(rows)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask.astype(np.int64)}
        types = tokens.types(rows) if self._reads_types else None
        if types is not None:
            inputs["token_type_ids"] = np.zeros_like(input_ids)
            inputs["token_type_ids"][attention_mask] = types
        return {name: torch.from_numpy(values) for name, values in inputs.items()}

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [rows, classes]."""
        with self.precision.autocast():
            return self.model(**inputs).logits.float()
