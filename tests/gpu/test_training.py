"""Training on a GPU: what it computes, that no step waits, and what happens when memory runs out."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from support import ROOT
from support.jobs import Job, easy_rows, table
from support.refusing import Refusing
from support.small_models import FAMILIES, LENGTHS, gradients, model_of, split_of
from support.tiny_model import write_tiny_model
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.packed import PackedClassifier
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.training.batches import Batch, Split, collate
from text_classifier.training.losses import row_losses
from text_classifier.training.micro_batches import StepWithinMemory, TokenLimit
from text_classifier.training.optimizer import adamw
from text_classifier.training.step import AllReduce, GraphedStep, Step

GPU = torch.device("cuda")
CODE = ROOT / "code"

#: Relative to the largest: how far logits and gradients may be from those of fp32 with padding.
ERROR = {"fp32": (1e-5, 1e-4), "bf16": (2e-2, 5e-2), "fp16": (2e-3, 1e-2)}


def forward(layout: Any, split: Split, rows: np.ndarray | None = None) -> tuple[torch.Tensor, np.ndarray]:
    batch = collate(layout, split, np.arange(len(split)) if rows is None else rows, len(split)).to(GPU)
    return layout(**batch.inputs), batch.rows


@pytest.mark.parametrize("precision", ERROR)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_padded_model(family: str, lengths: list[int], precision: str) -> None:
    model, split = model_of(family).to(GPU), split_of(lengths)
    packed = make_classifier(model, model.config.pad_token_id, Precision(precision, GPU))
    assert isinstance(packed, PackedClassifier) and packed.pads_to_bucket
    both = []
    for way in (packed, PaddedClassifier(model, model.config.pad_token_id, Precision("fp32", GPU))):
        logits, rows = forward(way, split)
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(split.targets[rows]).to(GPU)).backward()
        both.append((logits.detach(), gradients(model)))
    (logits, gradient), (expected, expected_gradient) = both
    logit_error, gradient_error = ERROR[precision]
    assert (logits - expected).abs().max() <= logit_error * max(1, expected.abs().max())
    assert gradient.keys() == expected_gradient.keys()
    largest = max(g.abs().max() for g in expected_gradient.values())
    for name, one in gradient.items():
        assert (one - expected_gradient[name]).abs().max() <= gradient_error * largest, name


@pytest.mark.parametrize("precision", ERROR)
def test_a_frozen_classifier_has_the_same_logits(precision: str) -> None:
    model, split = model_of("bert").to(GPU), split_of(LENGTHS[0])
    packed = make_classifier(model, 0, Precision(precision, GPU))
    assert isinstance(packed, PackedClassifier)
    with torch.inference_mode():
        expected, _ = forward(packed.eval(), split)
    packed.freeze()
    with torch.inference_mode():
        assert torch.equal(forward(packed, split)[0], expected)


def losses_of(
    steps: int, is_graphed: bool, precision: str, dropout: float, all_reduce: AllReduce | None = None
) -> tuple[list[float], dict[str, Any]]:
    """Losses of steps on batches of different sizes, and the weights at the end."""
    model = model_of("bert", hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout).to(GPU)
    layout = make_classifier(model, 0, Precision(precision, GPU)).train()
    split = split_of([int(n) for n in np.random.default_rng(5).integers(2, 60, 64)])
    optimizer, rates = adamw(layout, Settings(learning_rate=1e-3))
    step = Step(
        layout,
        row_losses(SingleLabel(), Settings()),
        optimizer,
        layout.precision.loss_scale(),
        max_grad_norm=1.0,
        all_reduce=all_reduce,
    )
    graphed = GraphedStep(step, GPU)
    torch.manual_seed(2)
    found = []
    for number in range(steps):
        rows = np.random.default_rng(number).choice(64, 8 if number % 10 else 5, replace=False)
        batch = collate(layout, split, rows, len(rows))
        rates.set(1e-3 * (1 - number / steps))
        loss, checked = graphed(batch) if is_graphed else step(batch.to(GPU))
        assert checked.isfinite()
        found.append(loss.item() / len(rows))
    if is_graphed:
        captured = graphed.backward if all_reduce else graphed.whole
        assert sum(graph is not None for graph in captured.graphs.values()) >= 4
    return found, copy.deepcopy(model.state_dict())


@pytest.mark.parametrize("ops", ["native", "reference"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_captured_steps_do_what_eager_ones_do(
    precision: str, dropout: float, ops: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXT_OPS", ops)
    (eager, weights), (captured, captured_weights) = (losses_of(50, on, precision, dropout) for on in (False, True))
    assert captured == pytest.approx(eager, rel=1e-4 if precision == "fp32" else 2e-2)
    for name, weight in weights.items():
        if name.endswith("key.bias"):  # changes no result: its gradient is rounding noise, which AdamW scales up
            continue
        assert torch.allclose(weight, captured_weights[name], atol=1e-4 if precision == "fp32" else 5e-3), name


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_captured_halves_do_what_a_captured_step_does(precision: str) -> None:
    """As with several ranks; the all-reduce of one rank changes nothing."""
    (whole, weights), (halves, weights_of_halves) = (
        losses_of(50, True, precision, 0.0, all_reduce) for all_reduce in (None, lambda gradients: gradients)
    )
    assert halves == pytest.approx(whole, rel=1e-4 if precision == "fp32" else 2e-2)
    for name, weight in weights.items():
        if not name.endswith("key.bias"):
            assert torch.allclose(weight, weights_of_halves[name], atol=1e-4 if precision == "fp32" else 5e-3), name


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_losses_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    job = Job(tmp_path, {"PYTHONPATH": str(CODE)})
    write_tiny_model(job.base / "input" / "data" / "model")
    job.write("train", "reviews.tsv", table(easy_rows(77)))
    job.write("validation", "reviews.tsv", table(easy_rows(20)))
    options = ("--epochs=4", "--learning_rate=0.001", "--precision=fp32")
    code, log = job.run(*options, "--train_batch_size=4")
    assert code == 0, log
    alone: Any = job.metrics["epochs"]
    job.clear()
    codes, logs = job.run_ranks(*options, "--train_batch_size=2", each=[{"LOCAL_RANK": "0"}, {"LOCAL_RANK": "1"}])
    assert codes == [0, 0], logs
    together: Any = job.metrics["epochs"]
    for one, two in zip(alone, together, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)


def steps_within(
    limit: int | None, precision: str, all_reduce: AllReduce | None = None
) -> tuple[list[float], TokenLimit]:
    """Losses of 50 steps on batches of different sizes, under an allocator that refuses more tokens than `limit`."""
    model = model_of("bert").to(GPU)
    layout = make_classifier(model, 0, Precision(precision, GPU)).train()
    refusing = Refusing(limit or 1 << 40, in_backward=True)
    refusing.watch(layout)
    split = split_of([int(n) for n in np.random.default_rng(5).integers(2, 60, 64)])
    optimizer, rates = adamw(layout, Settings(learning_rate=1e-3))
    step = Step(
        layout,
        row_losses(SingleLabel(), Settings()),
        optimizer,
        layout.precision.loss_scale(),
        max_grad_norm=1.0,
        all_reduce=all_reduce,
    )
    graphed, tokens = GraphedStep(step, GPU), TokenLimit("training")
    take_step, found = StepWithinMemory(graphed, layout, split, tokens, GPU), []
    for number in range(50):
        rows = np.random.default_rng(number).choice(64, 16 if number % 10 else 5, replace=False)
        rates.set(1e-3 * (1 - number / 50))
        loss, checked = take_step(collate(layout, split, rows, len(rows)))
        assert checked.isfinite()
        found.append(loss.item() / len(rows))
    if limit:
        assert 0 < refusing.refused <= 3
        for captured in (graphed.first_of_several, graphed.accumulate, graphed.update):
            assert any(graph is not None for graph in captured.graphs.values())
    return found, tokens


@pytest.mark.parametrize("all_reduce", [None, lambda gradients: gradients])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_micro_batches_in_graphs_do_what_whole_batches_do(precision: str, all_reduce: AllReduce | None) -> None:
    whole, _ = steps_within(None, precision, all_reduce)
    parts, limit = steps_within(256, precision, all_reduce)
    assert limit.tokens <= 256
    assert parts == pytest.approx(whole, rel=1e-4 if precision == "fp32" else 2e-2)


def test_memory_that_runs_out_while_a_step_is_captured_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step with a shape is captured; the capture fails, and later steps and captures work."""
    whole, _ = steps_within(None, "fp32")
    refused: list[object] = []
    begin = torch.cuda.CUDAGraph.capture_end

    def fail_once(graph: Any) -> None:
        begin(graph)
        if not refused:
            refused.append(graph)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_end", fail_once)
    parts, limit = steps_within(None, "fp32")
    assert refused and limit.is_reached
    assert parts == pytest.approx(whole, rel=1e-4)


def test_fifty_steps_give_the_losses_of_a_plain_loop() -> None:
    """The plain loop is transformers' own forward pass on a padded batch in fp32, and AdamW."""
    found, _ = losses_of(50, is_graphed=True, precision="fp32", dropout=0.0)
    model = model_of("bert").to(GPU)
    padded = PaddedClassifier(model, 0, Precision("fp32", GPU))
    split = split_of([int(n) for n in np.random.default_rng(5).integers(2, 60, 64)])
    decayed = [p for p in model.parameters() if p.ndim >= 2], [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed[0], "weight_decay": Settings().weight_decay}, {"params": decayed[1], "weight_decay": 0.0}]
    )
    for number, ours in enumerate(found):
        rows = np.random.default_rng(number).choice(64, 8 if number % 10 else 5, replace=False)
        inputs = {name: tensor.to(GPU) for name, tensor in padded.inputs(split.tokens, rows).items()}
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, torch.from_numpy(split.targets[rows]).to(GPU))
        assert ours == pytest.approx(loss.item(), rel=1e-4), number
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - number / 50)
        optimizer.step()
        optimizer.zero_grad()


def test_no_step_waits_for_the_gpu() -> None:
    model = model_of("bert", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1).to(GPU)
    layout = make_classifier(model, 0, Precision("bf16", GPU)).train()
    split = split_of([20, 15, 12, 9, 7, 5, 4, 2])
    optimizer, rates = adamw(layout, Settings(learning_rate=1e-3))
    step = Step(
        layout, row_losses(SingleLabel(), Settings()), optimizer, layout.precision.loss_scale(), max_grad_norm=1.0
    )
    graphed = GraphedStep(step, GPU)

    def three(take: Callable[[Batch], object]) -> None:
        for _ in range(3):
            rates.set(1e-3)
            take(collate(layout, split, np.arange(8), 8))

    for take in (graphed, lambda batch: step(batch.pinned().to(GPU))):
        three(take)
        torch.cuda.set_sync_debug_mode("error")
        try:
            three(take)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def train(job: Job, **hyperparameters: object) -> subprocess.CompletedProcess[str]:
    arguments = [f"--{name}={value}" for name, value in hyperparameters.items()]
    environment = os.environ | {"SAGEMAKER_BASE_DIR": str(job.base), "PYTHONPATH": str(CODE)}
    return subprocess.run(
        [sys.executable, str(CODE / "train.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    own = Job(tmp_path)
    own.write("train", "reviews.tsv", table(easy_rows(512)))
    write_tiny_model(own.base / "input" / "data" / "model")
    return own


def test_a_job_learns_and_goes_on_from_its_checkpoint(job: Job) -> None:
    settings = {"learning_rate": 1e-3, "max_sequence_length": 32, "train_batch_size": 32, "log_seconds": 0}
    first = train(job, epochs=2, **settings)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "packed batches, cuda, bf16" in first.stdout
    second = train(job, epochs=4, **settings)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Resuming from the checkpoint of step" in second.stdout
    metrics = json.loads((job.base / "output" / "data" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9


def train_with_little_memory(
    job: Job, gigabytes: int, *, width: int, heads: int, layers: int, **options: object
) -> subprocess.CompletedProcess[str]:
    """Train a BERT of this shape with random weights, while another process leaves so much memory of the GPU."""
    folder = job.base / "input" / "data" / "model"
    config = AutoConfig.from_pretrained(
        folder, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(free - (gigabytes << 30), dtype=torch.uint8, device=GPU)
    done = train(job, train_batch_size=512, **options)
    del ballast
    torch.cuda.empty_cache()
    return done


def test_memory_that_is_too_small_for_the_model_is_said(job: Job) -> None:
    """Too little is left for the optimizer."""
    done = train_with_little_memory(job, 5, width=2048, heads=32, layers=8, epochs=1, max_sequence_length=32)
    assert done.returncode != 0
    assert "the GPU ran out of memory with train_batch_size=512" in done.stdout + done.stderr


def test_a_job_goes_on_with_micro_batches_when_memory_runs_out(job: Job) -> None:
    """There is room for the model, and not for 512 rows of 128 tokens at once."""
    words = " ".join(text for text, _ in easy_rows(20))
    job.write("train", "reviews.tsv", table((f"{text} {words}", label) for text, label in easy_rows(512)))
    done = train_with_little_memory(job, 6, width=768, heads=12, layers=12, epochs=2, max_sequence_length=128)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("GPU memory ran out: training batches of more than") == 1
