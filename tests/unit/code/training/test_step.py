"""One optimizer step against the plain one."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.layers import freeze
from text_classifier.modeling.load import Classifier, make_classifier
from text_classifier.modeling.precision import STEPS_TO_GROW, LossScale, Precision
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.tokenization.tokens import Tokens
from text_classifier.training.batches import Batch, Split, collate
from text_classifier.training.losses import row_losses
from text_classifier.training.optimizer import adamw
from text_classifier.training.step import Step

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


def batch_of(seed: int, layout: Classifier, rows: np.ndarray | None = None) -> Batch:
    """Four rows of random tokens, or some of them."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(random.integers(2, 12, 4))])
    tokens = Tokens(random.integers(5, 50, offsets[-1]).astype(np.int32), offsets)
    return collate(layout, Split(tokens, random.integers(0, 2, 4)), np.arange(4) if rows is None else rows, 4)


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.1, 1e6])
def test_steps_are_those_of_a_plain_loop_that_clips(model: BertForSequenceClassification, max_grad_norm: float) -> None:
    plain = copy.deepcopy(model)
    settings = Settings(learning_rate=1e-3)
    ours, theirs = make_classifier(model, 0, Precision("fp32", CPU)), make_classifier(plain, 0, Precision("fp32", CPU))
    (optimizer, _), (plain_optimizer, _) = adamw(ours, settings), adamw(theirs, settings)
    step = Step(
        ours, row_losses(SingleLabel(), Settings()), optimizer, ours.precision.loss_scale(), max_grad_norm=max_grad_norm
    )
    for seed in range(5):
        batch = batch_of(seed, ours)
        step(batch)
        torch.nn.functional.cross_entropy(theirs(**batch.inputs), batch.targets).backward()
        if max_grad_norm:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm)
        plain_optimizer.step()
        plain_optimizer.zero_grad()
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("frozen", [0, 1])
def test_two_ranks_take_the_step_of_one_with_both_batches(model: BertForSequenceClassification, frozen: int) -> None:
    """Three steps: gradients of the step before do not count."""
    freeze(model, frozen)
    together = Barrier(2)
    shares: dict[int, torch.Tensor] = {}

    def train(rank: int | None) -> dict[str, torch.Tensor]:
        own = copy.deepcopy(model)
        layout = make_classifier(own, 0, Precision("fp32", CPU))
        optimizer, _ = adamw(layout, Settings(learning_rate=1e-3))

        def all_reduce(gradients: torch.Tensor) -> None:
            shares[rank or 0] = gradients.clone()
            together.wait()
            gradients.copy_(shares[0] + shares[1])
            together.wait()

        step = Step(
            layout, row_losses(SingleLabel(), Settings()), optimizer, LossScale(CPU, is_used=False),
            max_grad_norm=0.1, all_reduce=None if rank is None else all_reduce,
        )  # fmt: skip
        for seed in range(3):
            rows = np.arange(4) if rank is None else np.arange(4)[rank::2]
            step(batch_of(seed, layout, rows))
        return own.state_dict()

    expected = train(None)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(train, (0, 1)):
            for name, weight in found.items():
                assert torch.allclose(weight, expected[name], rtol=1e-4, atol=1e-6), name


def test_gradients_of_other_weights_than_in_the_first_step_are_refused(model: BertForSequenceClassification) -> None:
    """Each part of the one tensor that several ranks sum up belongs to one parameter."""
    layout = make_classifier(model, 0, Precision("fp32", CPU))
    optimizer, _ = adamw(layout, Settings())
    losses = row_losses(SingleLabel(), Settings())
    step = Step(
        layout, losses, optimizer, layout.precision.loss_scale(), max_grad_norm=1.0, all_reduce=lambda tensor: tensor
    )
    step(batch_of(0, layout))
    model.bert.pooler.dense.requires_grad_(False)
    model.bert.embeddings.requires_grad_(False)
    with pytest.raises(SettingsError, match="the model computes gradients of other weights in each step"):
        step(batch_of(1, layout))


def test_a_step_that_overflows_fp16_is_skipped_and_halves_the_scale(model: BertForSequenceClassification) -> None:
    fp16 = make_classifier(model, 0, Precision("fp16", CPU))
    loss_scale = LossScale(CPU, is_used=True)
    step = Step(
        fp16,
        row_losses(SingleLabel(), Settings()),
        adamw(fp16, Settings(learning_rate=1e-3))[0],
        loss_scale,
        max_grad_norm=1.0,
    )
    loss_scale.value.fill_(2.0**60)
    before = copy.deepcopy(model.state_dict())
    _, checked = step(batch_of(0, fp16))
    assert checked.isfinite()
    assert loss_scale.value == 2.0**59
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    loss_scale.restore([1.0, 0])
    next(model.parameters()).data.fill_(torch.inf)
    _, checked = step(batch_of(0, fp16))
    assert not checked.isfinite()


def test_fp16_with_its_scale_learns_what_fp32_does(model: BertForSequenceClassification) -> None:
    losses = []
    for name in ("fp32", "fp16"):
        layout = make_classifier(copy.deepcopy(model), 0, Precision(name, CPU))
        optimizer, _ = adamw(layout, Settings(learning_rate=1e-3))
        step = Step(
            layout, row_losses(SingleLabel(), Settings()), optimizer, layout.precision.loss_scale(), max_grad_norm=1.0
        )
        losses.append([step(batch_of(n % 3, layout))[0].item() for n in range(30)])
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[1][-3:] != losses[0][-3:]


def test_the_scale_doubles_after_many_good_steps_and_survives_a_checkpoint() -> None:
    one = LossScale(CPU, is_used=True)
    for _ in range(STEPS_TO_GROW - 1):
        one.update(torch.tensor(0.0))
    other = LossScale(CPU, is_used=True)
    other.restore(json.loads(json.dumps(one.state())))
    other.update(torch.tensor(0.0))
    assert other.value == 2 * one.value


def test_a_batch_copies_another_of_its_shape(model: BertForSequenceClassification) -> None:
    layout = make_classifier(model, 0, Precision("fp32", CPU))
    layout.pads_to_bucket = True
    tokens = Tokens(np.arange(5, 49, dtype=np.int32), np.array([0, 12, 20, 23, 30, 44]))
    split = Split(tokens, np.array([0, 1, 1, 0, 1]))
    one, other = (collate(layout, split, np.array(rows), 2) for rows in ([0, 1], [2, 4]))
    assert one.shape == other.shape
    assert not torch.equal(layout(**one.inputs), layout(**other.inputs))
    one.copy_(other)
    assert torch.equal(layout(**one.inputs), layout(**other.inputs))
    assert torch.equal(one.targets, other.targets)
