from __future__ import annotations

import csv

import pytest

from support.jobs import Job, easy_rows, table
from text_classifier.demonstration import classified


def test_rows_of_the_jobs_own_validation_split_are_classified_as_in_the_job(ready_job: Job) -> None:
    ready_job.write("train", "reviews.tsv", table(easy_rows(64)))
    code, log = ready_job.run("--epochs=1", "--precision=fp32")
    assert code == 0, log
    found = classified(ready_job.base / "model", ready_job.base / "input" / "data")
    with (ready_job.base / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(found) == 5
    for one, row in ((found[0], rows[0]), (found[-1], rows[-1])):
        assert (one["label"], one["predicted"]) == (row["label"], row["predicted"])
        assert one["probability"] == pytest.approx(float(row[f"probability_{row['predicted']}"]), abs=1e-5)


def test_regression_has_no_probability(ready_job: Job) -> None:
    rows = [(text, str(len(text) % 5)) for text, _ in easy_rows(64)]
    ready_job.write("train", "reviews.tsv", table(rows))
    code, log = ready_job.run("--epochs=1", "--task=regression")
    assert code == 0, log
    for one in classified(ready_job.base / "model", ready_job.base / "input" / "data"):
        assert one["probability"] is None and float(one["predicted"]) == float(one["predicted"])
