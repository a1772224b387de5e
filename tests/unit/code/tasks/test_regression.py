"""task=regression, from the label column to the report."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as reference

import predict
from support.jobs import BAD, GOOD, Job, table
from support.schema_check import problems_of_job
from support.tiny_model import write_tiny_model
from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.metric_names import is_better
from text_classifier.contract.parsing import parse
from text_classifier.dataset import load as data
from text_classifier.dataset.splits import split
from text_classifier.reading.labels import Numbers
from text_classifier.results import baselines
from text_classifier.results.answers import answers
from text_classifier.runtime.folders import JobFolders
from text_classifier.tasks.registry import task_of
from text_classifier.tasks.regression import Regression

EXACT = 1e-9


def test_the_log_names_no_class() -> None:
    assert Regression().outputs(("value",)) == "one number per text"
    assert task_of({"task": "single_label", "label_separator": ","}).outputs(("a", "b")) == "classes: a, b"


@pytest.mark.parametrize("number", ["1234567", "16777215", "0.1", "-4", "3.1415927", "1e+18", "1e-18", "0", "1e-05"])
def test_a_number_is_shown_exactly_in_the_fewest_digits(number: str) -> None:
    shown = answers(Regression())
    assert shown.label(np.float32(number), ()) == number
    assert list(shown.cells(np.array([[number]], dtype=np.float32), ())) == [[number]]
    labels = Regression().describe(np.full(3, number, dtype=np.float32), ())["labels"]
    assert [labels[name] for name in ("lowest", "median", "highest")] == [float(number)] * 3
    assert f"lowest {number}, median {number}" in Regression().table({"train": {"labels": labels}})[0]


def starred_rows(count: int) -> list[tuple[str, str]]:
    """Texts of good and bad words; the label is 1 plus half a star for each good one of eight words."""
    random = np.random.default_rng(5)
    rows = []
    for number in range(count):
        good = number % 9
        words = [*random.choice(GOOD[0].split(), good), *random.choice(BAD[0].split(), 8 - good)]
        rows.append((" ".join(words), str(1 + good / 2)))
    return rows


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str]:
    """A completed job and its log."""
    job = Job(tmp_path_factory.mktemp("numbers"))
    job.write("train", "reviews.tsv", table(starred_rows(360)))
    job.write("test", "reviews.tsv", table(starred_rows(18)))
    (job.base / "input" / "data" / "model").mkdir()
    write_tiny_model(job.base / "input" / "data" / "model")
    code, log = job.run("--task=regression", "--epochs=6", "--learning_rate=0.005", "--precision=fp32")
    assert code == 0, log
    return job, log


def test_a_job_learns_numbers_and_says_so(done: tuple[Job, str]) -> None:
    job, log = done
    metrics: Any = job.metrics
    mean, words = metrics["baselines"]
    assert (metrics["headline"], metrics["classes"], mean["name"]) == ("mae", ["value"], Regression.constant_baseline)
    assert metrics["mae"] == min(epoch["mae"] for epoch in metrics["epochs"]) < words["mae"] < mean["mae"]
    assert metrics["spearman"] > 0.9 and mean["spearman"] is None
    assert metrics["validation"]["mse"] == pytest.approx(metrics["validation_loss"], rel=1e-6)
    for name, (low, high) in metrics["validation"]["intervals"].items():
        assert low <= metrics["validation"][name] <= high, name
    assert mean["model_minus_baseline"] == pytest.approx(metrics["validation"]["mae"] - mean["mae"], abs=EXACT)
    assert mean["model_minus_baseline_interval"][1] < 0
    assert "labels of train: lowest 1, median 3, highest 5" in log
    assert log.count(" mae=") >= 6 and "accuracy" not in log


def test_the_model_starts_at_the_mean_of_the_labels(done: tuple[Job, str]) -> None:
    epochs: Any = done[0].metrics["epochs"]
    assert epochs[0]["train_loss"] < 2  # from an answer of 0 it would start at the mean square, 10.7


def test_the_public_files_keep_to_the_schema(done: tuple[Job, str]) -> None:
    assert problems_of_job(done[0].base) == []


def test_the_report_and_the_card_hold_what_there_is(done: tuple[Job, str]) -> None:
    job, _ = done
    html = (job.base / "output" / "data" / "report.html").read_text()
    assert "Fine-tuning was worth it" in html and "Possible label errors" in html and "Spearman correlation" in html
    for absent in ("Confusion", "Reliability", "threshold", "Precision", "class"):
        assert absent not in html.partition("</style>")[2].partition("<h2>Settings")[0].replace('class="', ""), absent
    card = (job.base / "model" / "README.md").read_text()
    assert "| mae | " in card and "the classes above" not in card and "temperature" not in card
    assert "Classes" not in card and "name: Text regression model\n" in card and "cannot be compared" not in html
    assert "<h1>Text regression model</h1>" in html and "in mean absolute error (95 % interval" in html


def test_the_model_serves_the_numbers_that_were_measured(
    done: tuple[Job, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    job, _ = done
    config = json.loads((job.base / "model" / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "value"})
    rows = list(csv.DictReader((job.base / "output" / "data" / "predictions_test.csv").open(newline="")))
    assert [row["label"] for row in rows[:3]] == ["1", "1.5", "2"]
    served = pipeline("text-classification", model=str(job.base / "model"))([text for text, _ in starred_rows(18)])
    assert [answer["score"] for answer in served] == pytest.approx([float(row["predicted"]) for row in rows], abs=1e-4)
    source = job.base / "input" / "data" / "test" / "reviews.tsv"
    given = [f"--model={job.base / 'model'}", f"--data={source}", f"--output={tmp_path / 'scores.csv'}"]
    assert predict.main(given) == 0
    found = list(csv.DictReader((tmp_path / "scores.csv").open(newline="")))
    assert list(found[0]) == ["row", "predicted"]
    assert [float(row["predicted"]) for row in found] == pytest.approx([float(r["predicted"]) for r in rows], abs=1e-4)
    assert predict.main([*given, "--calibrated"]) == 1
    assert "the model has no temperature" in capsys.readouterr().err


def numbers(rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    truth = random.integers(1, 6, rows).astype(np.float32)
    return truth, (truth + random.normal(size=rows)).round(1).astype(np.float32)


def test_each_metric_is_that_of_scipy_and_scikit_learn() -> None:
    truth, predicted = numbers(500)
    found = Regression().assess(predicted[:, None], truth, ["value"], np.arange(500), None, seed=1)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, predicted), abs=1e-6)
    assert found["mse"] == pytest.approx(reference.mean_squared_error(truth, predicted), abs=1e-6)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, predicted), abs=1e-6)
    assert found["r2"] == pytest.approx(reference.r2_score(truth, predicted), abs=1e-6)
    assert found["spearman"] == pytest.approx(spearmanr(truth, predicted).statistic, abs=EXACT)
    assert [len(found["by_length"]), sum(entry["rows"] for entry in found["by_length"])] == [4, 500]
    epoch = Regression().measure(predicted[:, None], truth)
    assert epoch.pop("loss") == epoch["mse"]
    assert {name: found[name] for name in epoch} == epoch


def test_a_resample_has_the_metrics_of_its_rows() -> None:
    from text_classifier.evaluation.regression import Errors

    truth, predicted = numbers(200)
    rows = np.random.default_rng(3).integers(0, 200, 200)
    drawn = Errors(predicted, truth).metrics(np.bincount(rows, minlength=200))
    assert drawn == pytest.approx(Errors(predicted[rows], truth[rows]).metrics(), abs=EXACT)
    assert drawn["spearman"] == pytest.approx(spearmanr(truth[rows], predicted[rows]).statistic, abs=EXACT)


def test_the_interval_of_the_difference_holds_it() -> None:
    truth, predicted = numbers(400)
    other = np.full(400, 3.0)
    difference, (low, high) = Regression().difference(predicted, other, truth, np.random.default_rng(1))
    assert difference == pytest.approx(np.abs(predicted - truth).mean() - np.abs(other - truth).mean(), abs=1e-6)
    assert low < difference < high < 0


def test_word_counts_find_numbers() -> None:
    texts, labels = zip(*starred_rows(200), strict=True)
    targets = np.array(labels, dtype=np.float32)
    predicted = baselines.tfidf(Regression(), texts[:150], targets[:150], texts[150:])
    assert predicted is not None
    assert np.abs(predicted - targets[150:]).mean() < 0.5 < np.abs(targets[:150].mean() - targets[150:]).mean()


def test_what_is_held_out_has_its_share_of_each_range_of_numbers() -> None:
    prices = np.random.default_rng(4).lognormal(size=2000).astype(np.float32)
    training, held_out = split(Regression().strata(prices, 0.9), 0.9, seed=1)
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1)):
        ends = np.quantile(prices, [low, high])
        shares = [np.mean((prices[rows] > ends[0]) & (prices[rows] <= ends[1])) for rows in (training, held_out)]
        assert shares[1] == pytest.approx(shares[0], abs=0.02)
    assert len(np.unique(Regression().strata(np.array([1, 1, 5, 5, 5, 5, 5, 5]), 0.9))) == 2


def test_a_label_that_is_no_number_is_a_bad_row(job: Job) -> None:
    job.write("train", "a.tsv", table([*starred_rows(9), ("text", "good"), ("text", "nan"), ("text", "1e300")]))
    with pytest.raises(DataError) as caught:
        data.read_data(JobFolders(job.base).data_channels(), parse({"task": "regression"}))
    assert str(caught.value) == (
        "train/a.tsv line 11 has the label 'good', which is not a number between -1e+15 and 1e+15; write the labels as "
        "numbers with a decimal point (4.5), or set task=single_label; also train/a.tsv line 12 has the label 'nan', "
        "which is not a number between -1e+15 and 1e+15; also train/a.tsv line 13 has the label '1e300', which is not "
        "a number between -1e+15 and 1e+15"
    )


def test_equal_labels_are_refused_and_far_ones_noted(job: Job) -> None:
    job.write("train", "a.tsv", table([("a", "4"), ("b", "4.0"), ("c", "4")]))
    with pytest.raises(DataError, match="all training rows have the label 4; there is nothing to learn from them"):
        data.read_data(JobFolders(job.base).data_channels(), parse({"task": "regression"}))
    job.write("train", "a.tsv", table([(f"row {n}", str(1000 * n)) for n in range(20)]))
    report = data.read_data(JobFolders(job.base).data_channels(), parse({"task": "regression"})).report
    assert report["notes"] == [
        "the labels have a standard deviation of 6.15e+03; rescale them to a standard deviation near 1"
    ]


def test_numbers_are_read_from_text_and_json() -> None:
    reader = Numbers()
    assert [reader.read(value, "label") for value in ("5", " 5.0 ", '"5"', 4.5, -3, "1e2")] == [5, 5, 5, 4.5, -3, 100]
    assert reader.codes == {"5": 5, " 5.0 ": 5, '"5"': 5, "1e2": 100}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"label_map": "1=a;2=b"}, "label_map applies to classification only; remove it, or choose another task"),
        ({"unmapped": "drop"}, "unmapped applies to classification only; remove it, or choose another task"),
        ({"class_weights": "balanced"}, "class_weights applies to classification only; remove it, or choose another"),
        (
            {"thresholds": "fitted"},
            "thresholds=fitted only applies to task=multi_label; remove it with task=regression",
        ),
        (
            {"metric_for_best_model": "f1_macro"},
            "metric_for_best_model=f1_macro does not exist for task=regression; choose one of mae, mse, rmse, spearman",
        ),
    ],
)
def test_settings_that_do_not_fit_the_task_are_one_sentence(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"task": "regression", **settings})
    assert str(caught.value).startswith(sentence)


def test_the_task_has_its_own_metric_for_the_best_epoch() -> None:
    assert parse({"task": "regression"}).metric_for_best_model == "mae"
    assert is_better("mae", 1, 2) and not is_better("mae", 2, 2) and is_better("spearman", 2, 1)
    assert is_better("mae", 1, float("nan")) and not is_better("mae", float("nan"), 1)
    assert isinstance(task_of(asdict(parse({"task": "regression"}))), Regression)


@pytest.mark.parametrize(
    ("value", "text"), [(4.1, "4.1"), (1234567, "1234567"), (-0.25, "-0.25"), (3.0, "3"), (1e-7, "1e-07")]
)
def test_numbers_are_written_with_all_their_digits(value: float, text: str) -> None:
    assert answers(Regression()).label(np.float32(value), ()) == text
