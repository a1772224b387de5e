"""The end of a job: writing the report must not cost the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.job import Job
from text_classifier.results.evaluated import MOST_JUDGED
from text_classifier.results.write import EPOCHS, Stage
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.tokenization.tokens import Tokens
from text_classifier.training.batches import Split
from text_classifier.training.cluster import Cluster


class Ending(Job):
    """A trained job with these stages; an exception among them is raised, and "stop" is a stop signal."""

    def __init__(self, base: Path, *stages: str | Exception, after_folds: tuple[str, ...] = ()) -> None:
        self.folders = JobFolders(base)
        self.cluster = Cluster(Hosts.from_resources({}), 60)
        self.stop = StopSignal()
        self.given, self.after_folds = stages, after_folds
        self.settings = Settings()

    def evaluate(self, trained: Any) -> Any:
        return None

    def save(self, trained: Any, evaluated: Any) -> Any:
        return object()

    def stages(self, trained: Any, evaluated: Any) -> tuple[list[Stage], list[Stage]]:
        def write(stage: str | Exception) -> None:
            if isinstance(stage, Exception):
                raise stage
            self.stop.requested |= stage == "stop"

        def named(stages: Sequence[str | Exception]) -> list[Stage]:
            return [(str(stage), partial(lambda stage, results: write(stage), stage)) for stage in stages]

        first, others = named(self.given), named(self.after_folds)
        return [(EPOCHS, first[0][1]), *first[1:]], others


def end(job: Job) -> None:
    job.finish(SimpleNamespace(steps=1, is_stopped=False))  # type: ignore[arg-type]


def test_all_stages_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(Ending(tmp_path, "epochs", "report"))
    assert capsys.readouterr().out.endswith(" s (epochs, report)\n")


def test_a_stop_leaves_out_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(Ending(tmp_path, "epochs", "stop", "report"))
    assert capsys.readouterr().out.endswith(" s (epochs, stop)\n")


def test_an_error_in_a_stage_ends_the_report_and_not_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end(Ending(tmp_path, "epochs", RuntimeError("no font"), "predictions"))
    shown = capsys.readouterr()
    assert "RuntimeError: no font" in shown.err
    assert "WARNING: no no font, nor what follows it (see above); the model was saved" in shown.out
    assert shown.out.endswith(" s (epochs)\n")


def test_a_job_without_its_metrics_has_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        end(Ending(tmp_path, OSError(28, "No space left on device")))


@pytest.mark.parametrize(
    ("digests", "names"),
    [
        ([7, 7, 7, 7], None),
        ([7], None),
        ([7, 7, -(2**63), -(2**63)], "algo-2 read other rows, classes or tokens than algo-1; give all hosts the same"),
        ([7, 8, 7, 9], "algo-2, algo-10 read other rows, classes or tokens than algo-1; "),
    ],
)
def test_hosts_with_other_data_are_named(digests: list[int], names: str | None) -> None:
    hosts = ["algo-1", "algo-2", "algo-10", "algo-3"][: 2 if digests[1:2] == [7] else 4]
    job: Any = object.__new__(Job)
    job._digest = digests[-1]
    job.cluster = SimpleNamespace(all_gather=lambda own: torch.tensor([*digests[:-1], int(own)]))
    agreement = pytest.raises(DataError, match=names) if names else nullcontext()
    with agreement:
        job.require_equal_data(Hosts.from_resources({"current_host": "algo-1", "hosts": hosts}))


def split_of(rows: int) -> Split:
    """As many rows as are wanted, of one token each."""
    return Split(Tokens(np.ones(rows, dtype=np.int32), np.arange(rows + 1)), np.zeros(rows))


def evaluation(training_rows: int, world_size: int = 1) -> Any:
    """A job that is ready to evaluate."""
    job: Any = object.__new__(Job)
    job.splits = {"train": split_of(training_rows), "validation": split_of(1), "test": split_of(1)}
    job.data = SimpleNamespace(splits={})
    job.settings = SimpleNamespace(eval_batch_size=8, seed=1)
    job.cluster = SimpleNamespace(world_size=world_size)
    job.task = job.classes = job.classifier = job.stop = None
    return job


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_error_in_the_evaluation_costs_the_metrics_and_not_the_model(
    world_size: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = evaluation(1, world_size)
    answers = iter([np.zeros((1, 2)), RuntimeError("out of memory")])

    def row_logits(*_: Any, **__: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("text_classifier.job.row_logits", row_logits)
    if world_size == 2:
        with pytest.raises(RuntimeError):
            job.evaluate(SimpleNamespace(is_stopped=False, evaluation_limit=None))
        return
    evaluated = job.evaluate(SimpleNamespace(is_stopped=False, evaluation_limit=None))
    assert list(evaluated.logits) == ["validation"] and evaluated.training_logits is None
    assert "WARNING: the test rows were not evaluated: " in capsys.readouterr().out


@pytest.mark.parametrize("training_rows", [MOST_JUDGED, MOST_JUDGED + 1])
def test_few_training_rows_are_evaluated_too(training_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def row_logits(classifier: Any, split: Split, *_: Any, **__: Any) -> np.ndarray:
        return np.zeros((len(split), 2))

    monkeypatch.setattr("text_classifier.job.row_logits", row_logits)
    evaluated = evaluation(training_rows).evaluate(SimpleNamespace(is_stopped=False, evaluation_limit=None))
    assert list(evaluated.logits) == ["validation", "test"]
    assert (evaluated.training_logits is not None) == (training_rows == MOST_JUDGED)


def test_a_failed_cross_validation_costs_neither_the_model_nor_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise SettingsError("the loss is nan")

    monkeypatch.setattr("text_classifier.job.fold_of_rows", fail)
    job: Any = Ending(tmp_path, "epochs", "predictions", after_folds=("report",))
    job.settings = Settings(cross_validation=2)
    job.classifier = job.task = job._first_weights = None
    job.splits, job.data = {"train": None, "validation": None}, SimpleNamespace(splits={"train": None})
    end(job)
    shown = capsys.readouterr()
    assert "WARNING: cross-validation has no result: Your settings: the loss is nan (the model was saved)" in shown.out
    written = re.findall(r" s \((.*)\)$", shown.out, re.MULTILINE)
    assert written == ["epochs, predictions", "report"] and "Traceback" not in shown.err
