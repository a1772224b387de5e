"""The training losses against torch's own functions, and the focal loss against its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.parsing import parse
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.regression import Regression
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.training.losses import row_losses

CLASSES, LABELS = SingleLabel(), MultiLabel(",")
WEIGHTS = np.array([0.5, 2, 7], dtype=np.float32)


def inputs(*, are_sets: bool) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(20, 3, generator=random)
    targets = torch.randint(0, 3, (20,), generator=random)
    return logits.requires_grad_(), (torch.rand(20, 3, generator=random) < 0.4).byte() if are_sets else targets


def same_bits(ours: Tensor, theirs: Tensor, logits: Tensor) -> bool:
    """The losses, and their gradients."""
    (one,), (other,) = (torch.autograd.grad(losses.sum(), logits, retain_graph=True) for losses in (ours, theirs))
    return torch.equal(ours, theirs) and torch.equal(one, other)


def test_by_default_they_are_torchs_bit_by_bit() -> None:
    logits, targets = inputs(are_sets=False)
    plain = functional.cross_entropy(logits, targets, reduction="none")
    assert same_bits(row_losses(CLASSES, Settings())(logits, targets), plain, logits)
    weighted = plain * torch.from_numpy(WEIGHTS)[targets]
    assert same_bits(row_losses(CLASSES, Settings(), WEIGHTS)(logits, targets), weighted, logits)
    logits, targets = inputs(are_sets=True)
    plain = functional.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").mean(dim=1)
    assert same_bits(row_losses(LABELS, Settings())(logits, targets), plain, logits)
    numbers = torch.randn(20)
    squared = row_losses(Regression(), Settings())(logits[:, :1], numbers)
    assert torch.equal(squared, (logits[:, 0] - numbers) ** 2)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_label_smoothing_spreads_a_share_of_each_target(weights: Any) -> None:
    smoothing = 0.2
    of_class = torch.ones(3) if weights is None else torch.from_numpy(weights)
    logits, targets = inputs(are_sets=False)
    wanted = functional.one_hot(targets, 3) * (1 - smoothing) + smoothing / 3
    expected = -of_class[targets] * (wanted * logits.log_softmax(1)).sum(1)
    found = row_losses(CLASSES, Settings(label_smoothing=smoothing), weights)(logits, targets)
    torch.testing.assert_close(found, expected)

    logits, targets = inputs(are_sets=True)
    wanted = targets * (1 - smoothing) + smoothing / 2
    p = logits.sigmoid()
    weight = torch.where(targets == 1, of_class, 1.0)
    expected = -(weight * (wanted * p.log() + (1 - wanted) * (1 - p).log())).mean(1)
    found = row_losses(LABELS, Settings(label_smoothing=smoothing), weights)(logits, targets)
    torch.testing.assert_close(found, expected)


def test_smoothing_does_not_favor_rare_classes() -> None:
    # Rows that tell nothing of their class: the best answer is the same probability for each.
    rows = [66, 33, 1]
    targets = torch.arange(3).repeat_interleave(torch.tensor(rows))
    weights = np.array([100 / (3 * count) for count in rows], dtype=np.float32)
    losses = row_losses(CLASSES, Settings(label_smoothing=0.1), weights)
    logits = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses(logits.expand(100, 3), targets).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros(1, 3), rtol=0, atol=1e-4)

    has = torch.zeros(100, 1, dtype=torch.uint8)
    has[0] = 1
    losses = row_losses(LABELS, Settings(label_smoothing=0.1), np.array([99], dtype=np.float32))
    logits = torch.zeros(1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses(logits.expand(100, 1), has).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros(1, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_focal_loss_is_that_of_its_formula(weights: Any, gamma: float) -> None:
    of_class = torch.ones(3) if weights is None else torch.from_numpy(weights)
    logits, targets = inputs(are_sets=False)
    p = logits.softmax(1)[torch.arange(20), targets]
    found = row_losses(CLASSES, Settings(focal_gamma=gamma), weights)(logits, targets)
    torch.testing.assert_close(found, -of_class[targets] * (1 - p) ** gamma * p.log(), rtol=1e-4, atol=1e-6)

    logits, targets = inputs(are_sets=True)
    p = torch.where(targets == 1, logits.sigmoid(), 1 - logits.sigmoid())
    weight = torch.where(targets == 1, of_class, 1.0)
    found = row_losses(LABELS, Settings(focal_gamma=gamma), weights)(logits, targets)
    torch.testing.assert_close(found, (-weight * (1 - p) ** gamma * p.log()).mean(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_rows_that_are_certainly_right_have_a_focal_loss_with_a_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    for task, targets in ((CLASSES, torch.tensor([0, 1])), (LABELS, torch.tensor([[1, 0], [0, 1]]))):
        losses = row_losses(task, Settings(focal_gamma=gamma))(logits, targets)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert losses.tolist() == [0, 0] and gradient.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"label_smoothing": "0.1", "focal_gamma": "2"},
            "label_smoothing and focal_gamma exclude each other: both keep the model from overconfidence; remove one",
        ),
        ({"task": "regression", "label_smoothing": "0.1"}, "label_smoothing applies to classification only; remove it"),
        (
            {"task": "regression", "focal_gamma": "2"},
            "focal_gamma applies to classification only; remove it, or choose",
        ),
        ({"task": "regression", "class_weights": "a:2"}, "class_weights applies to classification only; remove it"),
        ({"label_smoothing": "1"}, "hyperparameter label_smoothing=1 is out of range; set it to 0 or more and less th"),
        ({"focal_gamma": "11"}, "hyperparameter focal_gamma=11 is out of range; set it to 0 or more and 10 or less"),
    ],
)
def test_losses_that_make_no_sense_are_one_sentence(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(settings)
    assert str(caught.value).startswith(sentence)
