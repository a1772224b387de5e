"""Each training row is measured once, by the model that a training without its fold gives."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, mean_absolute_error

from support.jobs import Job
from support.small_models import model_of, split_of
from support.small_training import DEFAULTS, SmallJob, StopAfter
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.metric_names import REPORTED, metric_definitions
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.runtime.hosts import Hosts
from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.regression import Regression
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.training.batches import Split
from text_classifier.training.cluster import Cluster
from text_classifier.training.cross_validation import CrossValidation, CrossValidator
from text_classifier.training.inference import predict
from text_classifier.training.loop import train
from text_classifier.training.loss_tracking import LossCurve
from text_classifier.training.resume import NoCheckpoints
from text_classifier.training.state import host_copy

FOLDS = np.arange(30) * 7 % 3
TASKS = [(SingleLabel(), "f1_macro"), (MultiLabel(","), "f1_micro"), (Regression(), "mae")]


def of_task(task: Task, split: Split) -> Split:
    """The rows with targets of the task."""
    if isinstance(task, MultiLabel):
        return Split(split.tokens, np.eye(3, dtype=np.uint8)[split.targets])
    return Split(split.tokens, split.targets.astype(np.float32) if isinstance(task, Regression) else split.targets)


def validator(
    task: Task, metric: str, stop_after: float = float("inf"), dropout: float = 0.1, **settings: Any
) -> tuple[CrossValidator, Split]:
    """With dropout, so that the random numbers matter."""
    chosen = Settings(**DEFAULTS | {"metric_for_best_model": metric, "train_batch_size": 8, "epochs": 2} | settings)
    model = model_of("bert", num_hidden_layers=1, hidden_dropout_prob=dropout)
    if isinstance(task, Regression):
        model.classifier, model.config.num_labels = torch.nn.Linear(32, 1), 1
    classifier = make_classifier(model, 0, Precision("fp32", torch.device("cpu")))
    cluster = Cluster(Hosts.from_resources({}), 60)
    rows = of_task(task, split_of([int(n) for n in np.random.default_rng(3).integers(2, 20, len(FOLDS))]))
    held_out = of_task(task, split_of([5, 9, 3, 4, 7, 8]))
    first = host_copy(model.state_dict())
    return CrossValidator(classifier, first, held_out, task, chosen, cluster, StopAfter(stop_after)), rows


@pytest.mark.parametrize(("task", "metric"), TASKS, ids=lambda value: type(value).__name__)
def test_a_fold_is_a_training_without_its_rows(task: Task, metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    given, rows = validator(task, metric)
    model = given.classifier.model
    with torch.no_grad():  # the weights of the job's model
        for parameter in model.parameters():
            parameter += 1
    kept = host_copy(model.state_dict())
    found = given.run(rows, FOLDS)
    assert found is not None and found.rows == [10, 10, 10]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    log = capsys.readouterr().out
    lines = [f"cross-validation, fold {fold} of 3: trained on 20 rows, measured on 10: {metric} " for fold in (1, 2, 3)]
    assert len(log.splitlines()) == 3 and all(line in log for line in lines)
    assert not any(re.search(definition["Regex"], log) for definition in metric_definitions())

    other, _ = validator(task, metric)
    learned = np.flatnonzero(FOLDS != 1)
    torch.manual_seed(42)
    trained = train(
        other.classifier, rows.take(learned), other.validation, task, other.settings, other.cluster, other.stop,
        NoCheckpoints(),
    )  # fmt: skip
    other.classifier.model.load_state_dict(trained.best_weights)
    expected = predict(other.classifier, rows, 128, other.cluster, other.stop)
    assert expected is not None
    np.testing.assert_allclose(found.logits[FOLDS == 1], expected[FOLDS == 1], rtol=1e-5, atol=1e-5)
    assert np.abs(found.logits[learned] - expected[learned]).max() > 1e-3

    values, targets, logits = found.folds[1], rows.targets[FOLDS == 1], found.logits[FOLDS == 1]
    if isinstance(task, SingleLabel):
        assert values["accuracy"] == accuracy_score(targets, logits.argmax(axis=1))
        log_likelihood = torch.log_softmax(torch.from_numpy(logits), 1)[range(10), targets]
        assert values["log_loss"] == pytest.approx(-float(log_likelihood.mean()), rel=1e-5)
    if isinstance(task, Regression):
        assert values["mae"] == pytest.approx(mean_absolute_error(targets, logits[:, 0]), rel=1e-5)
        assert "log_loss" not in values


def test_a_stop_ends_it_without_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    given, rows = validator(SingleLabel(), "f1_macro", stop_after=12)
    kept = host_copy(given.classifier.model.state_dict())
    assert given.run(rows, FOLDS) is None
    assert capsys.readouterr().out.endswith("cross-validation was stopped in fold 2 of 3; it has no result\n")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in given.classifier.model.state_dict().items())


def test_a_loss_that_is_not_finite_is_a_mistake_in_the_settings() -> None:
    given, rows = validator(SingleLabel(), "f1_macro", learning_rate=1e38, max_grad_norm=0.0, warmup_ratio=0.0)
    with pytest.raises(SettingsError, match="a cross-validated model is nan at step .; lower learning_rate=1e[+]38"):
        given.run(rows, FOLDS)


def test_a_metric_counts_in_the_folds_that_define_it() -> None:
    folds = [{"accuracy": 0.5, "roc_auc": 0.7}, {"accuracy": 0.75, "roc_auc": float("nan")}, {"accuracy": 1.0}]
    found = CrossValidation(np.zeros((6, 2)), [2, 2, 2], folds).summary()
    assert found["mean"] == {"accuracy": 0.75, "roc_auc": 0.7}
    assert found["standard_deviation"]["accuracy"] == pytest.approx(np.std([0.5, 0.75, 1], ddof=1))
    assert np.isnan(found["standard_deviation"]["roc_auc"])
    assert found["folds"][0] == {"rows": 2, "accuracy": 0.5, "roc_auc": 0.7}


QUICK = ("--epochs=2", "--learning_rate=0.01", "--train_batch_size=8", "--precision=fp32")


def test_a_job_publishes_the_model_that_it_has_without_folds(ready_job: Job) -> None:
    code, log = ready_job.run(*QUICK)
    assert code == 0, log
    weights = (ready_job.base / "model" / "model.safetensors").read_bytes()
    plain = ready_job.metrics
    ready_job.clear()
    code, log = ready_job.run(*QUICK, "--cross_validation=3")
    assert code == 0, log
    assert (ready_job.base / "model" / "model.safetensors").read_bytes() == weights
    found: dict[str, Any] = ready_job.metrics
    assert {name: found[name] for name in plain if name in REPORTED} == {
        name: plain[name] for name in plain if name in REPORTED
    }
    measured = found["cross_validation"]
    assert sum(fold["rows"] for fold in measured["folds"]) == found["rows"]["train"] and len(measured["folds"]) == 3
    assert measured["mean"]["accuracy"] == pytest.approx(np.mean([fold["accuracy"] for fold in measured["folds"]]))
    report = (ready_job.base / "output" / "data" / "report.html").read_text()
    assert "<h2>Cross-validation</h2>" in report
    card = (ready_job.base / "model" / "README.md").read_text()
    assert (
        f"| accuracy | {measured['mean']['accuracy']:.4f} | {measured['standard_deviation']['accuracy']:.4f} |" in card
    )


def test_a_stop_in_a_fold_leaves_what_was_measured_before(ready_job: Job) -> None:
    process = ready_job.start(*QUICK, "--epochs=8", "--cross_validation=10")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("cross-validation, fold 1 of 10: "):
            process.send_signal(signal.SIGTERM)
            break
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert log.endswith("of 10; it has no result\n")
    metrics: dict[str, Any] = ready_job.metrics
    assert metrics["validation"]["rows"] == metrics["rows"]["validation"]
    assert "baselines" in metrics and "cross_validation" not in metrics
    card = (ready_job.base / "model" / "README.md").read_text()
    assert "| accuracy |" in card and "Cross-validation" not in card
    assert {path.name for path in (ready_job.base / "output" / "data").iterdir()} == {
        "data_report.json",
        "metrics.json",
        "predictions_validation.csv",
        "tensorboard",
    }


@dataclass
class Folds(SmallJob):
    """A cross-validation in place of a training: the metrics of its folds."""

    def run(self, stop_after: float = float("inf"), **settings: Any) -> Any:
        given, rows = validator(SingleLabel(), "f1_macro", dropout=0.0, **settings)
        given.cluster.join()
        try:
            found = given.run(rows, FOLDS)
            assert found is not None
            return SimpleNamespace(curve=LossCurve(), evaluations=found.folds)
        finally:
            given.cluster.leave()


def test_ranks_measure_what_one_process_does(tmp_path: Path) -> None:
    [alone], both = (
        Folds(tmp_path).run_ranks([lambda classifier: None] * ranks, train_batch_size=8 // ranks) for ranks in (1, 2)
    )
    assert both[0] == both[1]
    for one, two in zip(alone[1], both[0][1], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
