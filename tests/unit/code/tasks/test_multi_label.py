"""task=multi_label, from the label column to the report."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn import metrics as reference

import predict
from support.jobs import BAD, GOOD, Job, table
from support.schema_check import problems_of_job
from support.tiny_model import write_tiny_model
from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.parsing import parse
from text_classifier.dataset import load as data
from text_classifier.dataset.load import Data
from text_classifier.dataset.splits import split
from text_classifier.reading.label_map import parse_label_map
from text_classifier.reading.label_sets import LabelSets
from text_classifier.results import baselines
from text_classifier.results.answers import answers
from text_classifier.runtime.folders import JobFolders
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.registry import task_of
from text_classifier.training.losses import row_losses

EXACT = 1e-9

#: A text has a label when it has one of its words.
LABELS = {"good": "good", "lovely": "lovely", "dull": "bad"}


def labelled_rows(count: int) -> list[tuple[str, str]]:
    """Texts of eight words with all the labels that their words have, joined by commas; some have none."""
    random = np.random.default_rng(5)
    rest = sorted({*GOOD[0].split(), *BAD[0].split()} - set(LABELS))
    rows = []
    for number in range(count):
        own = [word for bit, word in enumerate(LABELS) if number >> bit & 1]
        words = random.permutation([*own, *random.choice(rest, 8 - len(own))])
        rows.append((" ".join(words), ",".join(LABELS[word] for word in own)))
    return rows


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str]:
    """A completed job and its log."""
    job = Job(tmp_path_factory.mktemp("sets"))
    job.write("train", "reviews.tsv", table(labelled_rows(800)))
    job.write("test", "reviews.tsv", table(labelled_rows(16)))
    (job.base / "input" / "data" / "model").mkdir()
    write_tiny_model(job.base / "input" / "data" / "model")
    code, log = job.run(
        "--task=multi_label",
        "--epochs=8",
        "--learning_rate=0.002",
        "--precision=fp32",
        "--train_batch_size=8",
        "--thresholds=fitted",
    )
    assert code == 0, log
    return job, log


def test_a_job_learns_sets_of_labels_and_says_so(done: tuple[Job, str]) -> None:
    job, log = done
    metrics: Any = job.metrics
    most, words = metrics["baselines"]
    assert (metrics["headline"], metrics["classes"]) == ("f1_micro", ["bad", "good", "lovely"])
    assert metrics["f1_micro"] == max(epoch["f1_micro"] for epoch in metrics["epochs"]) > 0.9
    assert words["f1_micro"] > most["f1_micro"]
    assert most["model_minus_baseline"] == pytest.approx(metrics["f1_micro"] - most["f1_micro"], abs=EXACT)
    assert metrics["validation"]["log_loss"] == pytest.approx(metrics["validation_loss"], rel=1e-6)
    for name, (low, high) in metrics["validation"]["intervals"].items():
        assert low <= metrics["validation"][name] <= high, name
    assert [row["class"] for row in metrics["validation"]["per_class"]] == ["bad", "good", "lovely"]
    assert "labels per row, mean: train 1.5 (" in log and log.count(" f1_micro=") >= 8


def test_the_public_files_keep_to_the_schema(done: tuple[Job, str]) -> None:
    assert problems_of_job(done[0].base) == []


def test_the_report_and_the_card_hold_what_there_is(done: tuple[Job, str]) -> None:
    job, _ = done
    html = (job.base / "output" / "data" / "report.html").read_text()
    for present in ("100 % means that every label", "Exact match", "ROC AUC (macro)", "Precision-recall curve"):
        assert present in html, present
    for absent in ("Confusion", "Reliability", "Choosing a threshold"):
        assert absent not in html, absent
    card = (job.base / "model" / "README.md").read_text()
    assert "| f1_micro | " in card and "| `lovely` | " in card and "temperature" not in card


def test_the_model_serves_what_was_measured(
    done: tuple[Job, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    job, _ = done
    config = json.loads((job.base / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {"0": "bad", "1": "good", "2": "lovely"}
    rows = list(csv.DictReader((job.base / "output" / "data" / "predictions_test.csv").open(newline="")))
    assert [row["label"] for row in rows[:4]] == ["", "good", "lovely", "good,lovely"]
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == job.metrics["test"]["exact_match"]  # type: ignore[index]
    serve = pipeline("text-classification", model=str(job.base / "model"), top_k=None)
    for scores, row in zip(serve([text for text, _ in labelled_rows(16)]), rows, strict=True):
        for answer in scores:
            assert answer["score"] == pytest.approx(float(row[f"probability_{answer['label']}"]), abs=1e-4)
    source = job.base / "input" / "data" / "test" / "reviews.tsv"
    given = [f"--model={job.base / 'model'}", f"--data={source}", f"--output={tmp_path / 'scores.csv'}"]
    assert predict.main(given) == 0
    found = list(csv.DictReader((tmp_path / "scores.csv").open(newline="")))
    assert [row["predicted"] for row in found] == [row["predicted"] for row in rows]
    assert predict.main([*given, "--calibrated"]) == 1
    assert "the model has no temperature" in capsys.readouterr().err


def test_a_single_label_column_is_learned(job: Job, tmp_path: Path) -> None:
    rows = [(text, int("bad" in labels)) for text, labels in labelled_rows(64)]
    job.write("train", "a.csv", "text,toxic\n" + "".join(f"{text},{mark}\n" for text, mark in rows))
    (job.base / "input" / "data" / "model").mkdir()
    write_tiny_model(job.base / "input" / "data" / "model")
    code, log = job.run("--task=multi_label", "--label_columns=toxic", "--epochs=2", "--thresholds=fitted")
    assert code == 0, log
    assert problems_of_job(job.base) == []
    assert "classes: toxic;" in log
    data = job.base / "input" / "data" / "train" / "a.csv"
    assert predict.main([f"--model={job.base / 'model'}", f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]) == 0
    for row in csv.DictReader((tmp_path / "scores.csv").open()):
        assert row["predicted"] == ("toxic" if float(row["probability_toxic"]) > 0.5 else "")


def test_fitted_thresholds_are_stored_measured_and_applied_when_asked(done: tuple[Job, str], tmp_path: Path) -> None:
    job, _ = done
    metrics: Any = job.metrics
    thresholds = json.loads((job.base / "model" / "training_manifest.json").read_text())["thresholds"]
    assert list(thresholds) == ["bad", "good", "lovely"] and all(0 < value < 1 for value in thresholds.values())
    assert json.loads((job.base / "model" / "config.json").read_text())["thresholds"] == thresholds
    for name in ("validation", "test"):
        measured = metrics[name]["at_fitted_thresholds"]
        assert measured["thresholds"] == thresholds and measured["rows"] == metrics[name]["rows"]
        assert measured["intervals"]["f1_macro"][0] <= measured["f1_macro"] <= measured["intervals"]["f1_macro"][1]
    fitted = metrics["validation"]["at_fitted_thresholds"]["f1_macro"]
    assert fitted >= metrics["validation"]["f1_macro"] - EXACT
    report, card = (job.base / path for path in ("output/data/report.html", "model/README.md"))
    assert "<h2>Fitted thresholds</h2>" in report.read_text()
    assert f"fitted on the validation rows and therefore optimistic here: F1 (micro) {fitted_of(metrics):.4f}" in (
        card.read_text()
    )

    # Thresholds as if others had been fitted, so that they change predictions.
    model = tmp_path / "model"
    shutil.copytree(job.base / "model", model)
    manifest = json.loads((model / "training_manifest.json").read_text())
    manifest["thresholds"] = {"lovely": 0.999999, "good": 1e-6, "bad": 0.5}
    (model / "training_manifest.json").write_text(json.dumps(manifest))
    given = [f"--model={model}", f"--data={job.base / 'input/data/test/reviews.tsv'}"]
    assert predict.main([*given, f"--output={tmp_path / 'half.csv'}"]) == 0
    assert predict.main([*given, f"--output={tmp_path / 'fitted.csv'}", "--fitted-thresholds"]) == 0
    half, found = (list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("half", "fitted"))
    assert {"good" in row["predicted"].split(",") for row in found} == {True}
    assert {"lovely" in row["predicted"].split(",") for row in found} == {False}
    bad = [["bad" in row["predicted"].split(",") for row in rows] for rows in (half, found)]
    assert bad[0] == bad[1] and any(bad[0])


def fitted_of(metrics: Any) -> float:
    return float(metrics["validation"]["at_fitted_thresholds"]["f1_micro"])


def test_a_model_that_learned_nothing_gets_warnings_in_log_report_and_card(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write("train", "reviews.tsv", table(labelled_rows(80)))
    (job.base / "input" / "data" / "model").mkdir()
    write_tiny_model(job.base / "input" / "data" / "model")
    code, log = job.run("--task=multi_label", "--epochs=1", "--learning_rate=0", "--precision=fp32", "--focal_gamma=2")
    assert code == 0, log
    html = (job.base / "output" / "data" / "report.html").read_text()
    assert "the training loss is that of focal_gamma=2.0, the validation loss the plain one" in html
    sentences: Any = job.metrics["warnings"]
    assert sentences[-1].startswith("the model is no better than the baseline (most frequent set of labels) on 8 valid")
    for sentence in sentences:
        assert f"\nWARNING: {sentence}\n" in log
        assert f"<p><strong>WARNING:</strong> {sentence}.</p>" in html
        assert f"**WARNING:** `{sentence}`" in (job.base / "model" / "README.md").read_text()
    assert problems_of_job(job.base) == []
    config = json.loads((job.base / "model" / "config.json").read_text())
    assert "thresholds" not in config
    data = job.write("other", "a.tsv", table([("good", "good")]))
    given = [f"--model={job.base / 'model'}", f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]
    capsys.readouterr()
    assert predict.main([*given, "--fitted-thresholds"]) == 1
    assert capsys.readouterr().err == (
        "Your settings: the model has no fitted thresholds (training was stopped, or was not asked to fit any); train "
        "with thresholds=fitted, or remove --fitted-thresholds\n"
    )


def rows_of(count: int, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right more often than not, many of them tied, and targets."""
    random = np.random.default_rng(3)
    targets = (random.random((count, labels)) < np.linspace(0.1, 0.6, labels)).astype(np.uint8)
    logits = (random.normal(size=targets.shape) + 1.5 * targets - 0.7).round(1).astype(np.float32)
    return logits, targets


def test_each_metric_is_that_of_scikit_learn() -> None:
    logits, targets = rows_of(600)
    names = [f"label {index}" for index in range(4)]
    task = MultiLabel(",")
    found = task.assess(logits, targets, names, np.arange(600), None, seed=1)
    predicted = logits > 0
    for average in ("micro", "macro"):
        expected = reference.precision_recall_fscore_support(targets, predicted, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert found[f"{name}_{average}"] == pytest.approx(value, abs=EXACT), (name, average)
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(targets, predicted), abs=EXACT)
    assert found["roc_auc_macro"] == pytest.approx(reference.roc_auc_score(targets, logits), abs=EXACT)
    assert found["auprc_macro"] == pytest.approx(reference.average_precision_score(targets, logits), abs=EXACT)
    probabilities = 1 / (1 + np.exp(-logits.astype(float)))
    losses = [reference.log_loss(targets[:, i], probabilities[:, i]) for i in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(losses), abs=1e-7)
    table = zip(*reference.precision_recall_fscore_support(targets, predicted, zero_division=0), strict=True)
    for entry, expected in zip(found["per_class"], table, strict=True):
        assert [entry[name] for name in ("precision", "recall", "f1", "rows")] == pytest.approx(expected, abs=EXACT)
    epoch = task.measure(logits, targets)
    assert epoch.pop("loss") == found["log_loss"]
    assert {name: found[name] for name in epoch} == pytest.approx(epoch, abs=EXACT)


def test_the_loss_is_that_of_transformers() -> None:
    import torch

    logits, targets = rows_of(8)
    losses = row_losses(MultiLabel(","), Settings())(torch.from_numpy(logits), torch.from_numpy(targets))
    expected = torch.nn.BCEWithLogitsLoss()(torch.from_numpy(logits), torch.from_numpy(targets).float())
    assert losses.shape == (8,) and losses.mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_intervals_are_those_of_resampled_rows() -> None:
    logits, targets = rows_of(300)
    predicted = (logits > 0).astype(np.uint8)
    _, found = MultiLabel(",").score(predicted, targets, 4, np.random.default_rng(1))
    random = np.random.default_rng(2)
    drawn = []
    for _ in range(400):
        rows = random.integers(0, 300, 300)
        drawn.append([reference.f1_score(targets[rows], predicted[rows], average=kind) for kind in ("micro", "macro")])
    for name, values in zip(("f1_micro", "f1_macro"), np.array(drawn).T, strict=True):
        assert found[name] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.01)
    difference, (low, high) = MultiLabel(",").difference(predicted, 1 - predicted, targets, random)
    other = reference.f1_score(targets, 1 - predicted, average="micro")
    assert difference == pytest.approx(reference.f1_score(targets, predicted, average="micro") - other, abs=EXACT)
    assert low < difference < high


def test_a_label_without_rows_and_rows_without_labels_are_measured() -> None:
    targets = np.zeros((3, 2), dtype=np.uint8)
    found = MultiLabel(",").measure(np.full((3, 2), -1, dtype=np.float32), targets)
    assert (found["exact_match"], found["f1_micro"]) == (1, 0) and "roc_auc_macro" not in found


def test_word_counts_find_labels() -> None:
    task = MultiLabel(",")
    texts = [text for text, _ in labelled_rows(240)]
    targets = np.array([[word in text.split() for word in LABELS] for text in texts], dtype=np.uint8)
    predicted = baselines.tfidf(task, texts[:200], targets[:200], texts[200:])
    assert predicted is not None and (predicted == targets[200:]).mean() > 0.9
    targets[:, 1:] = [1, 0]  # a label that all rows have, and one that none has
    predicted = baselines.tfidf(task, texts[:200], targets[:200], texts[200:])
    assert predicted is not None and (predicted[:, 1:] == [1, 0]).all() and (predicted == targets[200:]).mean() > 0.9
    assert baselines.tfidf(task, texts, targets[:, 1:], texts) is None
    assert task.constant(np.array([[0, 1], [1, 0], [1, 0]], dtype=np.uint8), 2).tolist() == [[1, 0]] * 2


def test_what_is_held_out_has_its_share_of_the_rarest_label_too() -> None:
    random = np.random.default_rng(6)
    targets = (random.random((4000, 3)) < [0.5, 0.2, 0.01]).astype(np.uint8)
    training, held_out = split(MultiLabel(",").strata(targets, 0.9), 0.9, seed=1)
    assert targets[held_out].sum(axis=0) == pytest.approx(0.1 * targets.sum(axis=0), rel=0.15)
    assert len(held_out) == pytest.approx(400, abs=3) and len(training) + len(held_out) == 4000


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)))
def test_a_stratum_is_the_rarest_label_of_a_row_and_the_first_of_equals(targets: np.ndarray) -> None:
    counts = targets.sum(axis=0).tolist()
    expected = [
        min((counts[label], label + 1) for label in np.flatnonzero(row))[1] if row.any() else 0 for row in targets
    ]
    assert MultiLabel(",").strata(targets, 0.9).tolist() == expected


def test_strata_take_twice_the_memory_of_the_targets() -> None:
    targets = (np.random.default_rng(1).random((20_000, 200), dtype=np.float32) < 0.01).astype(np.uint8)
    tracemalloc.start()
    MultiLabel(",").strata(targets, 0.9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * targets.nbytes


def read(job: Job, **hyperparameters: str) -> Data:
    return data.read_data(JobFolders(job.base).data_channels(), parse({"task": "multi_label", **hyperparameters}))


def test_labels_are_read_from_texts_and_lists() -> None:
    reader = LabelSets(None, ";", drops_unknown=False)
    values: list[Any] = ["b;a", "a; b;", ["b", "a"], "", None, [], "10", 10, [10.0]]
    label_map, targets = reader.targets(np.array([reader.read(value, "label") for value in values]))
    assert label_map.classes == ("10", "a", "b")
    assert targets.tolist() == [[0, 1, 1]] * 3 + [[0, 0, 0]] * 3 + [[1, 0, 0]] * 3


def test_the_labels_of_training_hold_for_json_lists_in_other_channels(job: Job) -> None:
    job.write("train", "a.csv", 'text,label\nx,"plot,style"\ny,price\nz,\nw,"price, plot"\n')
    job.write("validation", "a.jsonl", '{"text": "v", "label": ["style", "price"]}\n{"text": "u", "label": []}\n')
    found = read(job)
    assert found.classes == ("plot", "price", "style")
    assert found.splits["train"].targets.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert found.splits["validation"].targets.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert found.report["splits"]["train"]["classes"] == {"plot": 2, "price": 2, "style": 1}
    assert found.report["splits"]["train"]["without_label"] == 1
    missing, rare = found.report["notes"]
    assert missing == "validation has no row with label plot, so its metrics do not cover it"
    assert rare.startswith("fewer than 32 training rows: style (1), plot (2), price (2); ")
    job.write("validation", "a.jsonl", '{"text": "v", "label": ["style", "binding"]}\n')
    with pytest.raises(DataError, match="validation/a.jsonl line 1 has the label 'binding', which is not one of plot"):
        read(job)
    job.write("validation", "a.jsonl", '{"text": "v", "label": ["style", ["x"]]}\n')
    with pytest.raises(DataError, match="validation/a.jsonl line 1 has a list in column 'label'"):
        read(job)


def test_a_map_joins_labels_and_drops_rows(job: Job) -> None:
    job.write("train", "a.tsv", table([("x", "1|4"), ("y", "2"), ("z", "5|9"), ("w", "4|5")]))
    job.write("validation", "a.tsv", table([("x", "1")]))
    found = read(job, label_map="1-3=low;4,5=high", unmapped="drop", label_separator="|")
    assert found.splits["train"].targets.tolist() == [[1, 1], [1, 0], [0, 1]]
    assert found.report["channels"]["train"]["unmapped_labels"] == 1


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a;b", "a;b"], "the rows have only the label 'a;b'; task=multi_label needs at least two distinct labels"),
        (["", ""], "the rows have no labels; task=multi_label needs at least two distinct labels, separated by"),
        (
            [f"n{n},m{n}" for n in range(501)],
            "train/a.tsv line 502: the label column has more than 1,000 distinct labels (n0, m0, n1",
        ),
    ],
)
def test_a_column_that_holds_no_sets_is_one_sentence(job: Job, labels: list[str], sentence: str) -> None:
    job.write("train", "a.tsv", table(("text", label) for label in labels))
    with pytest.raises(DataError) as caught:
        read(job)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"task": "multi_label", "label_separator": ""}, "label_separator is empty; set it to what separates the lab"),
        ({"label_separator": ";"}, "label_separator only applies to task=multi_label; remove it, or set task=multi"),
        ({"label_separator": " "}, "label_separator only applies to task=multi_label; remove it, or set task=multi"),
        ({"thresholds": "fitted"}, "thresholds=fitted only applies to task=multi_label; remove it with task=single_"),
        ({"task": "multi_label", "metric_for_best_model": "accuracy"}, "metric_for_best_model=accuracy does not exist"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_one_sentence(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(settings)
    assert str(caught.value).startswith(sentence)


def test_labels_that_contain_the_separator_are_told_apart_and_read_again() -> None:
    classes = ("a", "a,b", "b", 'c"\u00e9')
    shown = answers(MultiLabel(","))
    written = {shown.label(np.array(marks), classes): marks for marks in itertools.product((0, 1), repeat=4)}
    assert len(written) == 16 and '["a", "b"]' in written and '["a,b"]' in written
    reader = LabelSets(parse_label_map(json.dumps({name: name for name in classes})), ",", drops_unknown=False)
    codes = np.array([reader.read(cell, "label") for cell in written])
    label_map, targets = reader.targets(codes)
    assert label_map.classes == classes
    assert targets.tolist() == [list(marks) for marks in written.values()]


def test_the_separator_is_the_jobs() -> None:
    settings = {"task": "multi_label", "label_separator": " / "}
    assert answers(task_of(settings)).label(np.array([1, 0, 1]), ("a", "b", "c")) == "a / c"
    for space in (" ", '" "'):
        assert parse({"task": "multi_label", "label_separator": space}).label_separator == " "
