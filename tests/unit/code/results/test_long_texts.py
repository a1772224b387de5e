"""Long texts in windows: what the report says of them, and a job from end to end."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import predict
from support.jobs import Job, easy_rows, table, warnings_in
from support.pages import Page
from text_classifier.reading.rows import Places, Rows
from text_classifier.reading.strings import Strings
from text_classifier.results import long_texts
from text_classifier.results.evaluated import Evaluated
from text_classifier.serving.model import load
from text_classifier.tasks.base import Task
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.regression import Regression
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.tokenization.windows import Windows

OPTIONS = (
    "--epochs=1", "--precision=fp32", "--max_sequence_length=8", "--long_texts=mean", "--window_stride=2",
    "--train_size=0.7", "--learning_rate=0.001", "--train_batch_size=16",
)  # fmt: skip


def evaluated(task: Task, targets: Any, by_mean: Any, by_first: Any, counts: list[int]) -> Evaluated:
    every = np.arange(len(counts))
    rows = Rows(
        channel="train",
        texts=Strings.of(["text"]).take(np.zeros_like(every)),
        places=Places(["line"], np.zeros_like(every), every, every),
        targets=np.array(targets), characters=every, exact=every, near=every, groups=np.zeros(0),
        slices=np.zeros(0, dtype=np.int64),
    )  # fmt: skip
    windows = Windows(np.concatenate([[0], np.cumsum(counts)]), np.full(len(counts), 9))
    return Evaluated(
        task=task, classes=("a", "b"), rows={"validation": rows}, lengths={}, training_logits=None, seed=1,
        logits={"validation": np.array(by_mean, dtype=np.float32)},
        full_lengths=lambda texts: np.zeros(len(texts)), windows={"validation": windows},
        first_window_logits={"validation": np.array(by_first, dtype=np.float32)},
    )  # fmt: skip


RIGHT, WRONG = [0.0, 1.0], [1.0, 0.0]


def test_only_texts_of_several_windows_are_compared() -> None:
    by_mean, by_first = [WRONG, RIGHT, RIGHT, RIGHT, WRONG], [WRONG, WRONG, RIGHT, WRONG, WRONG]
    given = evaluated(SingleLabel(), [1] * 5, by_mean, by_first, [1, 2, 3, 5, 2])
    found: Any = long_texts.compare(given, "validation", 1)
    assert (found["rows"], found["windows"]) == (4, 12)
    assert (found["accuracy"], found["first_window"]["accuracy"]) == (0.75, 0.25)
    assert found["mean_minus_first_window"] == 0.5
    low, high = found["mean_minus_first_window_interval"]
    assert low <= 0.5 <= high
    assert set(found["intervals"]) == set(found["first_window"]["intervals"]) == {"accuracy", "f1_macro"}


def test_without_long_texts_nothing_is_compared() -> None:
    assert long_texts.compare(evaluated(SingleLabel(), [1], [RIGHT], [RIGHT], [1]), "validation", 1) is None


@pytest.mark.parametrize(
    ("task", "targets", "headline"),
    [
        (MultiLabel(","), [[0, 1], [0, 1], [1, 0]], "f1_micro"),
        (Regression(), np.array([1.0, 2.0, 3.0], dtype=np.float32), "mae"),
    ],
)
def test_every_task_is_compared_by_its_own_metrics(task: Task, targets: Any, headline: str) -> None:
    outputs = 1 if headline == "mae" else 2
    logits = np.random.default_rng(1).normal(size=(3, outputs))
    found: Any = long_texts.compare(evaluated(task, targets, logits, -logits, [2, 2, 2]), "validation", 1)
    difference = found[headline] - found["first_window"][headline]
    assert found["mean_minus_first_window"] == pytest.approx(difference)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str]:
    """A completed job, and its log. The tokenizer was saved to keep the last tokens of texts, as after
    `truncation=tail`."""
    job = Job(tmp_path_factory.mktemp("windows"))
    job.write("train", "reviews.tsv", table(easy_rows(80)))
    model = job.base / "input" / "data" / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"truncation_side": "left"}))
    code, log = job.run(*OPTIONS)
    assert code == 0 and warnings_in(log) == [] and "truncation_side" not in log, log
    return job, log


def plain_logits(folder: Path, texts: list[str]) -> np.ndarray:
    """By transformers alone: the mean over the windows of each text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for text in texts:
        windows = tokenizer(
            text, truncation=True, max_length=8, stride=2, return_overflowing_tokens=True, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            found.append(model(windows["input_ids"], windows["attention_mask"]).logits.mean(dim=0).numpy())
    return np.array(found)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_predictions_are_the_mean_over_the_windows_of_plain_transformers(
    trained: tuple[Job, str], tmp_path: Path
) -> None:
    """Those of the job, of `predict` and of `serve`."""
    model, scores = trained[0].base / "model", tmp_path / "scores.csv"
    texts = [text for text, _ in easy_rows(80)]
    expected = plain_logits(model, texts)
    served = load(model)
    rows, truncated, windows = served.encode(texts)
    assert truncated == 0 and windows is not None and len(rows) > len(texts)
    np.testing.assert_allclose(windows.means(served.logits(rows)), expected, atol=1e-5)
    data = trained[0].base / "input" / "data" / "train" / "reviews.tsv"
    assert predict.main([f"--model={model}", f"--data={data}", f"--output={scores}"]) == 0
    probabilities = torch.from_numpy(expected).softmax(dim=1)[:, 1].tolist()
    predicted = {row["row"]: float(row["probability_positive"]) for row in rows_of(scores)}
    assert list(predicted.values()) == pytest.approx(probabilities, abs=1e-5)
    for row in rows_of(trained[0].base / "output" / "data" / "predictions_validation.csv"):
        place = row["row"].partition("/")[2]
        assert float(row["probability_positive"]) == pytest.approx(predicted[place], abs=1e-5)


def test_the_lines_of_the_model_card_average_the_windows(
    trained: tuple[Job, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, text = trained[0].base / "model", "good bad " * 20
    card = (model / "README.md").read_text()
    assert "The model reads at most 256 windows of a text" in card
    _, code, *_ = [block.partition("```")[0] for block in card.split("```python\n")[1:]]
    (tmp_path / "lines.py").write_text(code.replace("A long text to classify.", text))
    monkeypatch.chdir(model)
    found = runpy.run_path(str(tmp_path / "lines.py"))["logits"]
    np.testing.assert_allclose(found.detach().numpy(), plain_logits(model, [text])[0], atol=1e-6)


def test_the_outputs_say_what_was_read(trained: tuple[Job, str]) -> None:
    job, log = trained
    output = job.base / "output" / "data"
    tokens = json.loads((output / "data_report.json").read_text())["tokens"]["train"]
    metrics: Any = job.metrics
    assert tokens["truncated"] == 0 and tokens["max"] > 8 and 0 < tokens["in_windows"] < metrics["rows"]["train"] == 56
    assert metrics["steps"] == -(-tokens["windows"] // 16) > 56 // 16 + 1
    assert metrics["throughput"]["rows"] == 56
    line = (
        f"{tokens['in_windows']} texts are longer than max_sequence_length=8 and are read in windows; "
        f"{tokens['windows']} windows"
    )
    assert line in log
    measured = metrics["validation"]
    assert max(part["tokens"][1] for part in measured["by_length"]) > 8
    assert measured["long_texts"]["first_window"]["rows"] == measured["long_texts"]["rows"] < measured["rows"]
    page = Page((output / "report.html").read_text())
    page.require_self_contained()
    assert "The model reads a text in windows of 8 tokens" in page.text
    assert "First window alone" in page.text and "The model reads the first" not in page.text


def test_a_served_text_is_read_as_far_as_it_is_averaged(trained: tuple[Job, str]) -> None:
    served = load(trained[0].base / "model")
    text = "good " * 20
    rows, windows = served.encode_to([text, "good"], None, truncates=False)
    assert windows is not None and windows.counts.tolist() == [5, 1]
    assert rows == served.encode([text, "good"])[0]
    cut, windows = served.encode_to([text, "good"], 5, truncates=True)
    assert [len(row) for row in cut] == [5, 3] and windows is not None and windows.counts.tolist() == [1, 1]
    with pytest.raises(ValueError) as error:
        served.encode_to(["good", "good " * 2_000], None, truncates=False)
    assert error.value.args == (1, 2_002, served.longest_text)
    assert "8 tokens a window" in served.description
