from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from support.small_models import model_of, split_of
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.parsing import parse
from text_classifier.modeling.layers import freeze
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.training.batches import collate
from text_classifier.training.losses import row_losses
from text_classifier.training.optimizer import adamw, schedule
from text_classifier.training.step import Step

CPU = torch.device("cpu")


@pytest.mark.parametrize("warmup_steps", [0, 3, 10])
@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_the_schedule_is_that_of_transformers(name: str, warmup_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    transformers_name = "constant_with_warmup" if name == "constant" else name
    expected = get_scheduler(transformers_name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=10)
    for step in range(10):
        assert schedule(name, step, warmup_steps, 10) == pytest.approx(expected.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        expected.step()


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert"])
def test_each_layer_has_its_rate_and_steps_are_those_of_torch_with_these(family: str) -> None:
    """Steps of a plain AdamW with a group for each parameter, whose depth its name tells."""
    ours, theirs = model_of(family), model_of(family)
    settings = Settings(learning_rate=1e-2, layerwise_lr_decay=0.5, weight_decay=0.1)
    classifier = make_classifier(ours, ours.config.pad_token_id or 0, Precision("fp32", CPU))
    plain = make_classifier(theirs, ours.config.pad_token_id or 0, Precision("fp32", CPU))
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter],
            "initial_lr": 1e-2 * 0.5 ** (4 - depth_in_name(name)),
            "weight_decay": 0.1 if parameter.ndim >= 2 else 0.0,
        }
        for name, parameter in theirs.named_parameters()
    ]
    expected = torch.optim.AdamW(groups, eps=1e-8)
    optimizer, rates = adamw(classifier, settings)
    step = Step(classifier, row_losses(SingleLabel(), settings), optimizer, classifier.precision.loss_scale(),
                max_grad_norm=0.0)  # fmt: skip
    split = split_of([9, 7, 4, 2])
    for part in (1.0, 0.5, 0.25):
        rates.set(1e-2 * part)
        for group in expected.param_groups:
            group["lr"] = part * group["initial_lr"]
        batch = collate(classifier, split, np.arange(4), 4)
        step(batch)
        torch.nn.functional.cross_entropy(plain(**batch.inputs), batch.targets).backward()
        expected.step()
        expected.zero_grad()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if not name.endswith(("key.bias", "k_lin.bias")):  # their gradient is rounding noise, which AdamW scales up
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)


def depth_in_name(name: str) -> int:
    """Of a parameter of a model with three layers."""
    if ".layer." in name:
        return 1 + int(name.partition(".layer.")[2].partition(".")[0])
    return 0 if "embeddings" in name else 4


def test_frozen_parameters_have_no_optimizer_state_and_do_not_change() -> None:
    model = model_of("bert")
    freeze(model, 2)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    classifier = make_classifier(model, 0, Precision("fp32", CPU)).train()
    optimizer, _ = adamw(classifier, Settings(learning_rate=1e-2))
    step = Step(classifier, row_losses(SingleLabel(), Settings()), optimizer, classifier.precision.loss_scale(),
                max_grad_norm=1e-3)  # fmt: skip
    step(collate(classifier, split_of([9, 7, 4, 2]), np.arange(4), 4))
    for name, parameter in model.named_parameters():
        is_frozen = depth_in_name(name) <= 2
        assert parameter.requires_grad != is_frozen
        assert (parameter in optimizer.state) != is_frozen
        assert torch.equal(parameter, before[name]) == is_frozen, name


def test_the_gradients_of_trained_layers_do_not_depend_on_what_is_frozen() -> None:
    """And the norm that clips counts theirs alone."""
    found = []
    for frozen in (0, 2):
        model = model_of("bert")
        freeze(model, frozen)
        classifier = make_classifier(model, 0, Precision("fp32", CPU)).train()
        optimizer, _ = adamw(classifier, Settings())
        step = Step(classifier, row_losses(SingleLabel(), Settings()), optimizer, classifier.precision.loss_scale(),
                    max_grad_norm=1.0)  # fmt: skip
        step.backward(collate(classifier, split_of([9, 7, 4, 2]), np.arange(4), 4))
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append({name: None if gradient is None else gradient.clone() for name, gradient in gradients.items()})
        trained = [gradient for gradient in found[-1].values() if gradient is not None]
        assert step.update().item() == pytest.approx(
            torch.cat([gradient.flatten() for gradient in trained]).norm().item()
        )
    everything, some = found
    for name, gradient in some.items():
        assert (gradient is None) == (depth_in_name(name) <= 2), name
        assert gradient is None or torch.equal(gradient, everything[name]), name


@pytest.mark.parametrize("text", ["0", "1.5", "nan"])
def test_a_factor_outside_its_range_is_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"layerwise_lr_decay": text})
    assert str(caught.value).endswith("is out of range; set it to 0.1 or more and 1 or less (default 1.0)")
