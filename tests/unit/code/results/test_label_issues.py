"""label_issues.csv: planted mistakes come first, and the file says what they were judged by."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.jobs import Job, easy_rows, table
from text_classifier.reading.rows import Places, Rows
from text_classifier.reading.strings import Strings
from text_classifier.results import label_issues
from text_classifier.results.evaluated import Evaluated
from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.regression import Regression
from text_classifier.tasks.single_label import SingleLabel


def rows_of(name: str, targets: np.ndarray, ids: bool = False) -> Rows:
    every = np.arange(len(targets))
    none = np.zeros_like(every)
    own = Strings.of([f"=id{row}" for row in every])
    return Rows(
        channel="train",
        texts=Strings.of(["text"]).take(none), places=Places([f"{name} line"], none, every, every),
        targets=targets, characters=every, exact=every, near=every, groups=np.zeros(0),
        slices=np.zeros(0, dtype=np.int64), ids=own if ids else None,
    )  # fmt: skip


def read(path: Path, given: Evaluated) -> list[dict[str, str]]:
    label_issues.write(path, given, label_issues.find(given), "strict")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def evaluated(task: Task, classes: tuple[str, ...], train: Any, validation: Any) -> Evaluated:
    """Logits and targets of each split."""
    return Evaluated(
        task=task,
        classes=classes,
        rows={"train": rows_of("train", train[1]), "validation": rows_of("validation", validation[1], ids=True)},
        lengths={},
        logits={"validation": validation[0]},
        training_logits=train[0],
        seed=1,
        full_lengths=lambda texts: np.zeros(len(texts)),
    )


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_doubted_rows_of_all_splits_by_the_probability_of_their_label(tmp_path: Path) -> None:
    train = logits([0, 3], [5, 0]), np.array([0, 0])
    validation = logits([0, 1], [0, 4], [2, 0]), np.array([0, 0, 0])
    found = read(tmp_path / "issues.csv", evaluated(SingleLabel(), ("no", "=yes"), train, validation))
    assert [(row["row"], row["id"], row["basis"]) for row in found] == [
        ("validation line 1", "'=id1", "out-of-sample"),
        ("train line 0", "", "in-sample"),
        ("validation line 0", "'=id0", "out-of-sample"),
    ]
    assert {(row["label"], row["predicted"]) for row in found} == {("no", "'=yes")}
    expected = [1 / (1 + np.exp(margin)) for margin in (4, 3, 1)]
    assert [float(row["probability_of_label"]) for row in found] == pytest.approx(expected, rel=1e-5)


def test_training_rows_of_a_cross_validation_are_out_of_sample(tmp_path: Path) -> None:
    train = logits([0, 3]), np.array([0])
    validation = logits([2, 0]), np.array([0])
    given = evaluated(SingleLabel(), ("no", "yes"), train, validation)
    for is_cross_validated, basis in ((False, "in-sample"), (True, "out-of-sample")):
        [row] = read(tmp_path / "issues.csv", replace(given, is_cross_validated=is_cross_validated))
        assert (row["row"], row["basis"]) == ("train line 0", basis)


def test_of_several_labels_the_worst_is_named(tmp_path: Path) -> None:
    targets = np.array([[1, 0, 0], [1, 0, 1]], dtype=np.uint8)
    validation = logits([2, 1, 4], [2, -1, 1]), targets
    [row] = read(tmp_path / "issues.csv", evaluated(MultiLabel(","), ("a", "b", "c"), (None, targets), validation))
    assert (row["label"], row["predicted"], row["doubted_label"]) == ("a", "a,b,c", "c")
    assert float(row["probability_of_label"]) == pytest.approx(1 / (1 + np.exp(4)), rel=1e-5)


def test_numbers_are_doubted_by_their_standardized_error(tmp_path: Path) -> None:
    targets = np.zeros(10, dtype=np.float32)
    validation = logits(*[[0.1]] * 9, [-3]), targets
    [row] = read(tmp_path / "issues.csv", evaluated(Regression(), (), (None, targets), validation))
    usual = np.sqrt((9 * 0.01 + 9) / 10)
    assert row["row"] == "validation line 9" and float(row["error"]) == -3
    assert float(row["standardized_error"]) == pytest.approx(3 / usual, rel=0.01)
    exact = evaluated(Regression(), (), (None, targets), (logits(*[[0.0]] * 10), targets))
    assert read(tmp_path / "issues.csv", exact) == []


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_issues, "MOST", 1)
    validation = logits([0, 1], [0, 4]), np.array([0, 0])
    found = read(tmp_path / "issues.csv", evaluated(SingleLabel(), ("no", "yes"), (None, np.array([0])), validation))
    assert [row["row"] for row in found] == ["validation line 1"]


def test_a_job_finds_the_labels_that_were_swapped(ready_job: Job) -> None:
    training, others = easy_rows(128), easy_rows(32)
    swapped = {"positive": "negative", "negative": "positive"}
    for rows, index in ((training, 17), (others, 4), (others, 9)):
        rows[index] = rows[index][0], swapped[rows[index][1]]
    ready_job.write("train", "reviews.tsv", table(training))
    ready_job.write("validation", "reviews.tsv", table(others))
    code, log = ready_job.run("--epochs=3", "--learning_rate=0.01", "--precision=fp32")
    assert code == 0, log
    with (ready_job.base / "output" / "data" / "label_issues.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["row"] for row in found[:3]} == {
        "train/reviews.tsv line 19", "validation/reviews.tsv line 6", "validation/reviews.tsv line 11",
    }  # fmt: skip
    html = (ready_job.base / "output" / "data" / "report.html").read_text()
    assert "Possible label errors" in html and "validation/reviews.tsv line 6, out-of-sample" in html
