"""Steps whose batches do not fit into memory, under an allocator that refuses more than some tokens."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.refusing import Refusing
from support.small_models import model_of, split_of
from support.small_training import SmallJob, losses, weights
from text_classifier.contract.errors import describe, explain
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.training.batches import collate
from text_classifier.training.micro_batches import UNLIMITED, micro_batches

CPU = torch.device("cpu")
LONGEST, STEPS = 12, 50
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}


def pairs() -> list[Any]:
    chance = random.Random(7)
    return [
        pytest.param(
            chance.randint(LONGEST, 90), chance.choice((2, 5, 8, 12)), chance.random() < 0.5, chance.random() < 0.5
        )
        for _ in range(20)
    ]


@pytest.fixture(scope="session")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The losses of 50 steps in unlimited memory."""
    found: dict[tuple[int, bool], list[float]] = {}

    def losses_of(batch: int, has_dropout: bool) -> list[float]:
        if (batch, has_dropout) not in found:
            folder = tmp_path_factory.mktemp("unlimited")
            found[batch, has_dropout] = losses(job_of(folder, batch, has_dropout).run(train_batch_size=batch, epochs=1))
        return found[batch, has_dropout]

    return losses_of


def job_of(folder: Path, batch: int, has_dropout: bool) -> SmallJob:
    return SmallJob(
        folder, STEPS * batch - 1, LONGEST, options=(DROPOUT if has_dropout else {}) | {"num_hidden_layers": 2}
    )


@pytest.mark.parametrize(("limit", "batch", "has_dropout", "in_backward"), pairs())
def test_the_losses_are_those_of_unlimited_memory(
    limit: int, batch: int, has_dropout: bool, in_backward: bool, unlimited: Any, tmp_path: Path
) -> None:
    """With dropout too: each row has the mask that it has in the whole batch."""
    refusing = Refusing(limit, in_backward=in_backward)
    job = job_of(tmp_path, batch, has_dropout)
    job.watch = refusing.watch
    trained = job.run(train_batch_size=batch, epochs=1)
    expected = unlimited(batch, has_dropout)
    assert len(expected) == STEPS and losses(trained) == pytest.approx(expected, rel=1e-5)
    assert refusing.largest <= limit
    assert (trained.limit.is_reached or trained.evaluation_limit.is_reached) == (refusing.refused > 0)


def test_plain_torch_has_the_dropout_of_the_whole_batch_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT_OPS", "reference")
    whole, parts = (
        SmallJob(tmp_path / str(most), options=DROPOUT).run(train_batch_size=16, epochs=1, max_tokens_per_gpu=most)
        for most in (0, 50)
    )
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.parametrize(("family", "is_padded"), [("roberta", False), ("distilbert", False), ("bert", True)])
def test_other_families_and_padded_batches(family: str, is_padded: bool, tmp_path: Path) -> None:
    expected = SmallJob(tmp_path / "whole", family=family, is_padded=is_padded).run(train_batch_size=16, epochs=1)
    job = SmallJob(tmp_path / "parts", family=family, is_padded=is_padded)
    found = job.run(train_batch_size=16, epochs=1, max_tokens_per_gpu=50)
    assert losses(found) == pytest.approx(losses(expected), rel=1e-5)
    assert found.limit.tokens == 50


def test_the_limit_is_found_once_and_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refusing = Refusing(60)
    trained = SmallJob(tmp_path, watch=refusing.watch).run(train_batch_size=16, epochs=3)
    assert 30 <= trained.limit.tokens <= 60
    lines = [line for line in capsys.readouterr().out.splitlines() if "memory" in line]
    assert lines == [
        f"GPU memory ran out: {purpose} batches of more than {limit.tokens} tokens are computed in micro-batches from "
        "now on (max_tokens_per_gpu)"
        for purpose, limit in (("training", trained.limit), ("evaluation", trained.evaluation_limit))
        if limit.is_reached
    ]
    assert refusing.refused <= 6


def test_a_job_that_resumes_knows_the_limit_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    job = SmallJob(tmp_path / "whole", options=DROPOUT, watch=Refusing(60).watch)
    whole = job.run(train_batch_size=16, epochs=2)
    refusing = Refusing(60)
    job = SmallJob(tmp_path / "stopped", options=DROPOUT, watch=refusing.watch)
    assert job.run(stop_after=4, train_batch_size=16, epochs=2).is_stopped
    before, refusing.refused = refusing.refused, 0
    resumed = job.run(train_batch_size=16, epochs=2)
    assert before and resumed.limit.tokens == whole.limit.tokens < UNLIMITED
    assert refusing.refused <= 1  # in the evaluation, which the first job has not reached
    assert losses(resumed) == losses(whole) and resumed.evaluations == whole.evaluations
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(resumed).items())


def test_a_row_that_does_not_fit_ends_the_job_with_a_sentence(tmp_path: Path) -> None:
    job = SmallJob(tmp_path, longest=LONGEST, watch=Refusing(LONGEST - 2).watch)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        job.run(train_batch_size=8)
    assert describe(explain(caught.value, "train_batch_size", 8)).startswith(
        "Your settings: the GPU ran out of memory with train_batch_size=8: the model, or a single row, does not "
        "fit; use a smaller model, a smaller max_sequence_length, or an instance with more GPU memory\n"
    )


def test_any_other_error_is_not_caught(tmp_path: Path) -> None:
    def breaks(classifier: Any) -> None:
        classifier.forward = lambda **inputs: 1 / 0

    with pytest.raises(ZeroDivisionError):
        SmallJob(tmp_path, watch=breaks).run()


@pytest.mark.parametrize("most", [1, 30, 59, 10_000])
def test_micro_batches_are_the_rows_of_the_batch_in_order(most: int) -> None:
    layout = make_classifier(model_of("bert"), 0, Precision("fp32", CPU))
    split = split_of([5, 20, 9, 9, 2, 14])
    batch = collate(layout, split, np.arange(6), 12)
    parts = micro_batches(layout, split, batch, most)
    assert np.concatenate([part.rows for part in parts]).tolist() == batch.rows.tolist()
    assert all(part.computed_tokens <= most or len(part.rows) == 1 for part in parts)
    assert {part.rows_of_all_ranks for part in parts} == {12}
    assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)


def test_one_of_two_ranks_runs_out_of_memory_and_the_result_is_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It computes its gradients again before the one all-reduce, for which the other rank waits."""
    refusing, both = Refusing(40, in_backward=True), []
    for name, watches in (("whole", [nothing, nothing]), ("parts", [nothing, refusing.watch])):
        first, second = SmallJob(tmp_path / name).run_ranks(watches, train_batch_size=8, epochs=2)
        assert first[1] == second[1]  # each rank has the losses of its own rows
        both.append((first, second))
    for whole, parts in zip(*both, strict=True):
        assert parts[0] == pytest.approx(whole[0], rel=1e-5)
        for one, two in zip(whole[1], parts[1], strict=True):
            assert two == pytest.approx(one, rel=1e-5)
    assert capfd.readouterr().out.count("GPU memory ran out: training batches of more than") == 1


def nothing(classifier: object) -> None:
    """Memory is unlimited."""
