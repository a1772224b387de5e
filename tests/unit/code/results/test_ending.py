"""The end of a job: writing the report must not cost the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.results.ending import Ending
from text_classifier.results.evaluated import MOST_JUDGED
from text_classifier.results.write import EPOCHS, Stage
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.tokenization.tokens import Tokens
from text_classifier.training.batches import Split
from text_classifier.training.cluster import Cluster


@dataclass(frozen=True, kw_only=True)
class Staged(Ending):
    """With these stages; an exception among them is raised, and "stop" is a stop signal."""

    given: Sequence[str | Exception]
    after_folds: Sequence[str]

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


def end(base: Path, *stages: str | Exception, after_folds: Sequence[str] = (), **settings: Any) -> None:
    """The end of a job with these stages."""
    nothing: Any = None
    data: Any = SimpleNamespace(splits={"train": None}, task=None)
    trained: Any = SimpleNamespace(steps=1, is_stopped=False)
    Staged(
        folders=JobFolders(base),
        settings=Settings(**settings),
        data=data,
        splits={"train": nothing, "validation": nothing},
        tokenizer=nothing,
        classifier=nothing,
        first_weights={},
        cluster=Cluster(Hosts.from_resources({}), 60),
        stop=StopSignal(),
        given=stages,
        after_folds=after_folds,
    ).finish(trained)


def test_all_stages_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(tmp_path, "epochs", "report")
    assert capsys.readouterr().out.endswith(" s (epochs, report)\n")


def test_a_stop_leaves_out_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(tmp_path, "epochs", "stop", "report")
    assert capsys.readouterr().out.endswith(" s (epochs, stop)\n")


def test_an_error_in_a_stage_ends_the_report_and_not_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end(tmp_path, "epochs", RuntimeError("no font"), "predictions")
    shown = capsys.readouterr()
    assert "RuntimeError: no font" in shown.err
    assert "WARNING: no no font, nor what follows it (see above); the model was saved" in shown.out
    assert shown.out.endswith(" s (epochs)\n")


def test_a_job_without_its_metrics_has_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        end(tmp_path, OSError(28, "No space left on device"))


def split_of(rows: int) -> Split:
    """As many rows as are wanted, of one token each."""
    return Split(Tokens(np.ones(rows, dtype=np.int32), np.arange(rows + 1)), np.zeros(rows))


def evaluation(training_rows: int, world_size: int = 1) -> Any:
    """The end of a job with so many training rows."""
    ending: Any = SimpleNamespace(
        splits={"train": split_of(training_rows), "validation": split_of(1), "test": split_of(1)},
        data=SimpleNamespace(splits={}, task=None, classes=None),
        settings=SimpleNamespace(eval_batch_size=8, seed=1),
        cluster=SimpleNamespace(world_size=world_size),
        folders=None, tokenizer=None, classifier=None, first_weights={}, stop=None,
    )  # fmt: skip
    return Ending(**vars(ending))


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

    monkeypatch.setattr("text_classifier.results.ending.row_logits", row_logits)
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

    monkeypatch.setattr("text_classifier.results.ending.row_logits", row_logits)
    evaluated = evaluation(training_rows).evaluate(SimpleNamespace(is_stopped=False, evaluation_limit=None))
    assert list(evaluated.logits) == ["validation", "test"]
    assert (evaluated.training_logits is not None) == (training_rows == MOST_JUDGED)


def test_a_failed_cross_validation_costs_neither_the_model_nor_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise SettingsError("the loss is nan")

    monkeypatch.setattr("text_classifier.results.ending.fold_of_rows", fail)
    end(tmp_path, "epochs", "predictions", after_folds=("report",), cross_validation=2)
    shown = capsys.readouterr()
    assert "WARNING: cross-validation has no result: Your settings: the loss is nan (the model was saved)" in shown.out
    written = re.findall(r" s \((.*)\)$", shown.out, re.MULTILINE)
    assert written == ["epochs, predictions", "report"] and "Traceback" not in shown.err
