"""One optimizer step of the training loop against the plain one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from batches import Batch, Split, collate
from hyperparameters import Settings
from loop import _optimizer, _step
from model import Classifier, classifier
from precision import Precision
from tokens import Tokens

CPU = torch.device("cpu")


@pytest.fixture
def model() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=50, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def batch_of(seed: int, layout: Classifier) -> Batch:
    """Four rows of random tokens."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(random.integers(2, 12, 4))])
    tokens = Tokens(random.integers(5, 50, offsets[-1]).astype(np.int32), offsets)
    return collate(layout, Split(tokens, random.integers(0, 2, 4)), np.arange(4), 4)


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.1, 1e6])
def test_steps_are_those_of_a_plain_loop_that_clips(model: BertForSequenceClassification, max_grad_norm: float) -> None:
    plain = copy.deepcopy(model)
    settings = Settings(learning_rate=1e-3)
    ours, theirs = classifier(model, 0, Precision("fp32", CPU)), classifier(plain, 0, Precision("fp32", CPU))
    optimizer, plain_optimizer = _optimizer(ours, settings), _optimizer(theirs, settings)
    for seed in range(5):
        batch = batch_of(seed, ours)
        _step(ours, batch, optimizer, max_grad_norm, 1)
        torch.nn.functional.cross_entropy(theirs(**batch.inputs), batch.classes).backward()
        if max_grad_norm:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm)
        plain_optimizer.step()
        plain_optimizer.zero_grad()
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6), name
