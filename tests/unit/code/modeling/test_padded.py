"""A frozen padded classifier; test_packed.py compares the logits with packed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForSequenceClassification

from support.small_models import LENGTHS, split_of
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.training.batches import collate

SHAPE = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64}
FAMILIES = {
    "deberta-v2": transformers.DebertaV2Config(
        vocab_size=120, relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0, **SHAPE
    ),
    "albert": transformers.AlbertConfig(vocab_size=120, embedding_size=16, **SHAPE),
    "modernbert": transformers.ModernBertConfig(
        vocab_size=120, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2, **SHAPE
    ),
}


class InFp32(nn.Module):
    """A head that computes without autocast."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast("cpu", enabled=False):
            return self.head(x.float())


def padded_model(family: str, precision: str) -> PaddedClassifier:
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(FAMILIES[family])
    return PaddedClassifier(model, 0, Precision(precision, torch.device("cpu"))).eval()


def logits(classifier: PaddedClassifier) -> torch.Tensor:
    split = split_of(LENGTHS[0])
    with torch.inference_mode():
        found: torch.Tensor = classifier(**collate(classifier, split, np.arange(len(split)), len(split)).inputs)
    return found


def dtypes(classifier: PaddedClassifier) -> set[torch.dtype]:
    return {module.weight.dtype for module in classifier.modules() if isinstance(module, nn.Linear)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_weights_of_linear_layers_are_cast_once(family: str, precision: str) -> None:
    classifier = padded_model(family, precision)
    expected = logits(classifier)
    classifier.freeze(split_of([5]).tokens)
    assert torch.equal(logits(classifier), expected)
    assert dtypes(classifier) == {classifier.precision.dtype}


def test_a_model_that_computes_a_layer_without_autocast_stays_as_it_is() -> None:
    classifier = padded_model("albert", "bf16")
    classifier.model.classifier = InFp32(classifier.model.classifier)
    expected = logits(classifier)
    classifier.freeze(split_of([5]).tokens)
    assert torch.equal(logits(classifier), expected)
    assert dtypes(classifier) == {torch.float32}
