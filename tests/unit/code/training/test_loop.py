"""When training evaluates, which evaluation is kept and when training ends: also of a job that resumes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.checkpoints import sign
from support.small_training import SmallJob, losses, weights
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.metric_names import BY_TASK
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.training.cluster import Cluster
from text_classifier.training.inference import row_logits
from text_classifier.training.state import Training

#: Ten steps an epoch.
ROWS = {"train_batch_size": 8, "epochs": 4}


@dataclass
class Scripted(SingleLabel):
    """All metrics, which are equal, and validation loss by evaluation."""

    script: tuple[tuple[float, float], ...]
    done: int = 0

    def measure(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        f1, loss = self.script[self.done]
        self.done += 1
        return {"loss": loss, **dict.fromkeys(BY_TASK["single_label"], f1)}


def job(folder: Path, *script: tuple[float, float], done: int = 0) -> SmallJob:
    task = Scripted(script, done) if script else SingleLabel()
    return SmallJob(folder, rows=80, task=task, options={"num_hidden_layers": 2, "hidden_dropout_prob": 0.1})


def same(one: Training, other: Training) -> bool:
    return (
        losses(one) == losses(other)
        and one.evaluations == other.evaluations
        and one.best_evaluation == other.best_evaluation
        and all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())
        and all(torch.equal(tensor, other.best_weights[name]) for name, tensor in one.best_weights.items())
    )


def test_of_equal_metrics_the_lower_validation_loss_is_kept(tmp_path: Path) -> None:
    assert job(tmp_path, (0.8, 0.5), (0.9, 0.6), (0.9, 0.4), (0.9, 0.5)).run(**ROWS).best_evaluation == 3


def test_evaluations_in_an_epoch_change_no_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = job(tmp_path / "plain").run(**ROWS)
    capsys.readouterr()
    often = job(tmp_path / "often").run(**ROWS, evaluations_per_epoch=3)
    assert losses(often) == losses(plain) and len(often.evaluations) == 12
    assert all(torch.equal(tensor, weights(plain)[name]) for name, tensor in weights(often).items())
    for epoch, values in enumerate(plain.evaluations):
        last = often.evaluations[3 * epoch + 2]
        assert {**values, "train_loss": 0} == {**last, "train_loss": 0}
    # Evaluations are after 3, 6 and 10 steps of 8 rows.
    means = [np.mean(losses(often)[start:end]) for start, end in ((0, 3), (3, 6), (6, 10), (10, 13))]
    assert [values["train_loss"] for values in often.evaluations[:4]] == pytest.approx(means, rel=1e-5)
    lines = [line.split("train_loss")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("epoch=")]
    assert lines[:4] == [
        "epoch=0.333333; step=3; ",
        "epoch=0.666667; step=6; ",
        "epoch=1; step=10; ",
        "epoch=1.33333; step=13; ",
    ]


def test_a_checkpoint_from_before_a_setting_existed_counts_as_its_default(tmp_path: Path) -> None:
    job(tmp_path).run(**ROWS | {"epochs": 1})
    (folder,) = tmp_path.iterdir()
    state = json.loads((folder / "state.json").read_text())
    del state["token_limits"], state["origin"]["evaluations_per_epoch"]
    (folder / "state.json").write_text(json.dumps(state))
    sign(folder)
    assert len(job(tmp_path).run(**ROWS | {"epochs": 2}).evaluations) == 2
    with pytest.raises(SettingsError, match="are from a job with evaluations_per_epoch=1, this one has 2; use another"):
        job(tmp_path).run(**ROWS | {"epochs": 3}, evaluations_per_epoch=2)


@pytest.mark.parametrize("questions", [2, 8, 14])
def test_a_job_that_is_stopped_between_evaluations_resumes_exactly(tmp_path: Path, questions: int) -> None:
    settings: dict[str, Any] = {**ROWS, "epochs": 2, "evaluations_per_epoch": 3}
    whole = job(tmp_path / "whole").run(**settings)
    assert job(tmp_path / "stopped").run(stop_after=questions, **settings).is_stopped
    assert same(job(tmp_path / "stopped").run(**settings), whole)


SCRIPT = ((0.5, 0.9), (0.7, 0.8), (0.7, 0.7), (0.6, 0.7), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1))


@pytest.mark.parametrize(("per_epoch", "steps"), [(1, 40), (2, 20)])
def test_early_stopping_counts_evaluations(
    tmp_path: Path, per_epoch: int, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"train_batch_size": 8, "epochs": 5, "evaluations_per_epoch": per_epoch}
    found = job(tmp_path, *SCRIPT).run(**settings, early_stopping_patience=2)
    assert (found.steps, len(found.evaluations), found.best_evaluation) == (steps, 4, 3)
    assert found.stopped_early and not found.is_stopped
    line = f"stopped early after 4 of {5 * per_epoch} evaluations: f1_macro has not improved in the last 2\n"
    assert line in capsys.readouterr().out


def test_the_steps_before_an_early_stop_are_those_without_it(tmp_path: Path) -> None:
    """The schedule of the learning rate is that of all epochs."""
    plain = job(tmp_path / "plain", *SCRIPT).run(train_batch_size=8, epochs=5)
    found = job(tmp_path / "early", *SCRIPT).run(train_batch_size=8, epochs=5, early_stopping_patience=2)
    assert losses(found) == losses(plain)[: found.steps]


def test_an_early_stop_is_exact_after_a_resume_and_final(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {"train_batch_size": 8, "epochs": 5, "early_stopping_patience": 2}
    whole = job(tmp_path / "whole", *SCRIPT).run(**settings)
    assert job(tmp_path / "stopped", *SCRIPT).run(stop_after=25, **settings).is_stopped
    resumed = job(tmp_path / "stopped", *SCRIPT, done=2).run(**settings)
    assert resumed.stopped_early and same(resumed, whole)
    capsys.readouterr()
    again = job(tmp_path / "stopped", *SCRIPT, done=4).run(**settings)
    assert again.stopped_early and same(again, whole) and again.throughput == {}
    assert "stopped early after 4 of 5 evaluations" in capsys.readouterr().out
    goes_on = job(tmp_path / "stopped", *SCRIPT, done=4).run(**settings | {"early_stopping_patience": 0})
    assert len(goes_on.evaluations) == 5 and goes_on.best_evaluation == 5 and not goes_on.stopped_early


def test_ranks_stop_early_together(tmp_path: Path) -> None:
    watches = [lambda classifier: None] * 2
    found = job(tmp_path, *SCRIPT).run_ranks(watches, train_batch_size=4, epochs=5, early_stopping_patience=2)
    assert [len(evaluations) for _, evaluations in found] == [4, 4]


def test_a_patience_that_no_job_of_its_length_reaches_changes_nothing(tmp_path: Path) -> None:
    plain = job(tmp_path / "plain").run(train_batch_size=8, epochs=2)
    patient = job(tmp_path / "patient").run(train_batch_size=8, epochs=2, early_stopping_patience=2)
    assert same(plain, patient) and not patient.stopped_early


#: Windows of 40 texts, 80 in all.
WINDOWS = [1, 3, 1, 2, 5, 1, 1, 2] * 5
LEARNING: dict[str, Any] = {"train_batch_size": 8, "epochs": 2}


def windowed(folder: Path, windows: list[int] | None = WINDOWS, **changes: Any) -> SmallJob:
    return replace(job(folder), windows=windows, **changes)


def test_windows_that_are_whole_texts_change_no_number(tmp_path: Path) -> None:
    plain = windowed(tmp_path / "plain", None).run(**LEARNING)
    found = windowed(tmp_path / "windows", [1] * 80).run(**LEARNING)
    assert losses(found) == losses(plain)
    assert all(torch.equal(tensor, weights(plain)[name]) for name, tensor in weights(found).items())


@pytest.mark.parametrize("is_padded", [False, True])
def test_the_training_loss_is_the_mean_over_texts_of_the_mean_over_their_windows(
    tmp_path: Path, is_padded: bool
) -> None:
    """Of weights that do not change."""
    given = windowed(tmp_path, is_padded=is_padded, options={"num_hidden_layers": 1})
    trained = given.run(train_batch_size=7, epochs=1, learning_rate=0.0)
    split, cluster = given.split, Cluster(Hosts.from_resources({}), 60)
    classifier = make_classifier(trained.model, 0, Precision("fp32", cluster.device))  # type: ignore[arg-type]
    logits = row_logits(classifier, split, 16, cluster, StopSignal())
    assert logits is not None
    targets = split.targets[split.texts_of(np.arange(80))]
    each = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets), reduction="none")
    by_text = [part.mean() for part in np.split(each.numpy(), np.cumsum(WINDOWS)[:-1])]
    assert trained.evaluations[0]["train_loss"] == pytest.approx(np.mean(by_text), rel=1e-5)
    assert trained.throughput["rows"] == len(split) == 40


def test_a_job_with_windows_that_is_stopped_resumes_exactly(tmp_path: Path) -> None:
    whole = windowed(tmp_path / "whole").run(**LEARNING)
    assert windowed(tmp_path / "stopped").run(stop_after=13, **LEARNING).is_stopped
    assert same(windowed(tmp_path / "stopped").run(**LEARNING), whole)


def test_a_job_resumes_only_with_the_same_windows(tmp_path: Path) -> None:
    windowed(tmp_path).run(**LEARNING)
    with pytest.raises(SettingsError, match="are from a job with train rows="):
        windowed(tmp_path, WINDOWS[::-1]).run(**LEARNING)


def test_two_ranks_with_windows_learn_as_one(tmp_path: Path) -> None:
    plain = {"options": {"num_hidden_layers": 2}}  # without dropout, which is another one on each rank
    one = windowed(tmp_path / "one", **plain).run(train_batch_size=8, epochs=2)
    watches = [lambda classifier: None] * 2
    two = windowed(tmp_path / "two", **plain).run_ranks(watches, train_batch_size=4, epochs=2)
    for found in (evaluations for _, evaluations in two):
        for values, expected in zip(found, one.evaluations, strict=True):
            assert values == pytest.approx(expected, rel=1e-4)


def test_micro_batches_of_windows_have_the_gradient_of_the_batch(tmp_path: Path) -> None:
    whole = windowed(tmp_path / "whole").run(**LEARNING)
    parts = windowed(tmp_path / "parts").run(**LEARNING, max_tokens_per_gpu=30)
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
