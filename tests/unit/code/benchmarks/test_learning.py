"""The benchmark of the learning settings: its rows, its differences, and a pair of runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import figures, learning, parity, run, weights
from benchmarks.contest import Task
from benchmarks.corpus import Rows
from benchmarks.learning import KINDS, TRIALS, Outcome, Trial
from benchmarks.parity import TOKENS, difference
from support.jobs import easy_rows
from text_classifier.contract.parsing import parse

ROWS = Rows([f"text {number}" for number in range(1000)], [number % 2 for number in range(1000)])
CLASS_OF = dict(zip(ROWS.texts, ROWS.classes, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_seeded_and_have_their_trouble_alone(kind: str) -> None:
    rows, other = KINDS[kind](ROWS, 200, 1), KINDS[kind](ROWS, 200, 2)
    assert KINDS[kind](ROWS, 200, 1) == rows and sorted(other.texts) != sorted(rows.texts)
    wrong = sum(label != CLASS_OF[text] for text, label in zip(rows.texts, rows.classes, strict=True))
    assert wrong == (40 if kind == "noisy" else 0)
    assert len(set(rows.texts)) == len(rows) == (50 if kind == "few" else 200)
    assert sum(rows.classes) == (20 if kind == "imbalanced" else pytest.approx(len(rows) / 2, abs=25))
    if kind == "imbalanced":  # the rows that choose the epoch are the last ones
        assert 0 < sum(rows.classes[:160]) < 20


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_trial_is_a_setting_that_a_job_takes(trial: Trial) -> None:
    default = parse({})
    chosen = parse(trial.settings)
    assert all(getattr(chosen, name) != getattr(default, name) for name in trial.settings)
    assert trial.kinds and {*trial.kinds} <= {*KINDS} and {*trial.data} <= {*TOKENS}


@pytest.mark.parametrize("benchmark", [learning, parity])
def test_the_options_are_all_that_a_benchmark_needs(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = benchmark.arguments([])
    assert options.output.name == f"{benchmark.__name__.split('.')[-1]}.json" and options.rows == list(TOKENS)
    run.require_packages_and_device(options)
    monkeypatch.setattr("os.environ", {})
    run.set_environment(options)
    assert os.environ == {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def test_a_difference_is_that_of_pairs() -> None:
    values, others = np.array([3.0, 5.0, 4.0]), np.array([1.0, 4.0, 4.0])
    found = difference(values, others)
    half = stats.t.ppf(0.975, 2) * np.std(values - others, ddof=1) / np.sqrt(3)
    assert found == {"mean_difference": 1.0, "interval": pytest.approx([1 - half, 1 + half])}
    assert difference(values, values) == {"mean_difference": 0.0, "interval": [0.0, 0.0]}
    assert difference(values[:1], others[:1])["interval"] is None


def test_a_line_compares_the_runs_of_each_seed() -> None:
    without = [Outcome(70.0, 0.6, 40, 2.0), Outcome(80.0, 0.5, 40, 2.0)]
    found = [Outcome(71.0, 0.5, 20, 1.0), Outcome(83.0, 0.4, 30, 1.0)]
    line = learning.line("imdb", "few", 75, 500, "early_stopping_patience=1", without, found)
    assert line["recall_macro"]["mean_difference"] == 2 and line["steps"] == 0.625 and line["seconds"] == 0.5
    assert line["log_loss"]["mean_difference"] == pytest.approx(-0.1)
    assert "| imdb, few, 75 | 75.0 | +2.0 (" in figures.learning([json.loads(json.dumps(line))])
    assert learning.line("imdb", "imbalanced", 75, 500, "x=1", without, found)["log_loss"] is None


def test_a_pair_of_runs_differs_by_its_setting(tiny_model: Path, tmp_path: Path) -> None:
    easy = [(text, int(label == "positive")) for text, label in easy_rows(60)]
    rows = Rows(*(list(column) for column in zip(*easy, strict=True)))
    task = Task(tmp_path / "model", 16, batch_size=8, device="cpu", epochs=4, learning_rate=1e-2)
    weights.write(task.model, tiny_model, None, 1)
    first, again, stopped = (
        learning.run(task, rows.take(range(40)), rows.take(range(40, 60)), settings)
        for settings in ({}, {}, {"early_stopping_patience": "1"})
    )
    assert (first.recall_macro, first.log_loss, first.steps) == (again.recall_macro, again.log_loss, 16)
    assert first.recall_macro == 100 and stopped.steps < 16
