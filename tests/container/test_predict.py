"""The image's `predict` command with a model trained by the image."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from support.containers import ContainerJob, running


def test_predict_gives_what_was_measured(trained: Path, ready_job: Callable[..., ContainerJob]) -> None:
    with (trained.parent / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        measured = {row["row"].partition("/")[2]: row for row in csv.DictReader(file)}
    scoring = ready_job()
    command = ["predict", "--model=/opt/ml/trained", "--data=/opt/ml/input/data/train/reviews.tsv"]
    command.append("--output=/opt/ml/output/data/scores.csv")
    with running(scoring, command=command, mounts={"trained": trained}):
        assert scoring.wait() == {"algo-1": 0}, scoring.log()
    with (scoring.folder("algo-1", "output") / "data" / "scores.csv").open(newline="") as file:
        scores = {row["row"]: row for row in csv.DictReader(file)}
    assert len(scores) == 64 and measured.keys() <= scores.keys()
    for place, row in measured.items():
        assert scores[place]["predicted"] == row["predicted"]
        assert float(scores[place]["probability_positive"]) == pytest.approx(
            float(row["probability_positive"]), abs=1e-5
        )


def test_a_mistake_is_one_sentence(ready_job: Callable[..., ContainerJob]) -> None:
    job = ready_job()
    command = ["predict", "--model=/opt/ml/model", "--data=/none.csv", "--output=/opt/ml/output/data/scores.csv"]
    with running(job, command=command):
        assert job.wait() == {"algo-1": 1}
        assert job.log().startswith("Your settings: --model /opt/ml/model has no readable training_manifest.json;")
        assert "Traceback" not in job.log()
