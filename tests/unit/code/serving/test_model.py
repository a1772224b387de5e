"""Served models of all tasks: the logits of the trainer, of predict and of transformers' pipeline."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import predict
from support.bounded import run_bounded
from support.jobs import BAD, GOOD, Job, easy_rows, table
from support.tiny_model import write_tiny_model
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling import precision
from text_classifier.reading.pairs import pair
from text_classifier.serving.model import ServedModel, load
from text_classifier.serving.requests import JSON, read_request
from text_classifier.serving.responses import render
from text_classifier.serving.settings import ServeSettings

ROWS = {
    "single_label": easy_rows(48),
    "multi_label": [(text, label if number % 3 else "") for number, (text, label) in enumerate(easy_rows(48))],
    "regression": [(text, str(number % 5)) for number, (text, _) in enumerate(easy_rows(48))],
}


@pytest.fixture(scope="module", params=ROWS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A completed job of each task."""
    job = Job(tmp_path_factory.mktemp(request.param))
    job.write("train", "reviews.tsv", table(ROWS[request.param]))
    (job.base / "input" / "data" / "model").mkdir()
    write_tiny_model(job.base / "input" / "data" / "model")
    code, log = job.run(f"--task={request.param}", "--epochs=1", "--precision=fp32", "--max_sequence_length=8")
    assert code == 0, log
    return job


@pytest.fixture(scope="module")
def served(trained: Job) -> ServedModel:
    return load(trained.base / "model")


def logits(served: ServedModel, texts: list[str]) -> np.ndarray:
    return served.logits(served.encode(texts)[0])


def texts_of(job: Job) -> list[str]:
    lines = (job.base / "input" / "data" / "train" / "reviews.tsv").read_text().splitlines()
    return [line.partition("\t")[0] for line in lines[1:]]


def test_the_logits_are_those_of_the_pipeline(trained: Job, served: ServedModel) -> None:
    texts = texts_of(trained)
    classify = pipeline("text-classification", model=str(trained.base / "model"), truncation=True, max_length=8)
    expected = classify(texts, top_k=None, function_to_apply="none")
    found = logits(served, texts)
    for row, answer in zip(found, expected, strict=True):
        theirs = {entry["label"]: entry["score"] for entry in answer}
        assert row.tolist() == pytest.approx([theirs[name] for name in served.outputs.classes], abs=1e-5)


def test_the_file_of_the_weights_does_not_stay_in_memory(trained: Job, served: ServedModel) -> None:
    assert (trained.base / "model" / "model.safetensors").is_file()
    assert str(trained.base) not in Path("/proc/self/maps").read_text()


def test_the_answers_are_those_of_the_pipeline(trained: Job, served: ServedModel) -> None:
    classify = pipeline("text-classification", model=str(trained.base / "model"), truncation=True, max_length=8)
    for body in ("good", ["good", "bad " * 20]):
        request = read_request(json.dumps(body).encode(), JSON, ServeSettings(), ())
        found = json.loads(render(request, logits(served, request.texts), JSON, served.outputs))
        expected = classify(body)
        assert [each["label"] for each in found] == [each["label"] for each in expected]
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=1e-5)


def test_the_predictions_are_those_of_predict_and_of_the_trainer(
    trained: Job, served: ServedModel, tmp_path: Path
) -> None:
    data = trained.base / "input" / "data" / "train" / "reviews.tsv"
    arguments = [f"--model={trained.base / 'model'}", f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]
    assert predict.main(arguments) == 0
    body = table([("x", "x"), *((text, "") for text in texts_of(trained))])
    request = read_request("\n".join(texts_of(trained)).encode(), "text/plain", ServeSettings(), ())
    rows = list(
        csv.reader(render(request, logits(served, request.texts), "text/csv", served.outputs).decode().split("\n"))
    )
    with (tmp_path / "scores.csv").open(newline="") as file:
        predicted = list(csv.DictReader(file))
    assert len(rows) == len(predicted) == len(body.splitlines()) - 2
    by_place = dict(zip((row["row"] for row in predicted), rows, strict=True))
    for row in predicted:
        assert by_place[row["row"]] == [value for name, value in row.items() if name != "row"]
    with (trained.base / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            ours = by_place[row["row"].partition("/")[2]]
            theirs = [value for name, value in row.items() if name not in ("row", "label")]
            assert (ours[0], len(ours)) == (theirs[0], len(theirs)) or "score" in served.outputs.classes
            assert [float(value) for value in ours[1:]] == pytest.approx(
                [float(value) for value in theirs[1:]], abs=1e-5
            )


def test_a_batch_of_any_rows_has_the_logits_of_each(served: ServedModel) -> None:
    texts = [
        "good",
        "bad " * 9,
        "",
        "fine lovely",
        "x",
        "\0",
        "a\0 good\x07",
        "\N{SLIGHTLY SMILING FACE}",
        "\u202e\u0130",
    ]
    together = logits(served, texts)
    for text, row in zip(texts, together, strict=True):
        assert logits(served, [text])[0] == pytest.approx(row, abs=1e-5)


def test_texts_are_truncated_as_in_training_or_at_the_length_of_the_request(served: ServedModel) -> None:
    text = "good " * 20
    rows, truncated, windows = served.encode([text, "good"])
    assert ([len(row) for row in rows], truncated, windows) == ([8, 3], 1, None)
    assert served.encode_to([text, "good"], None, truncates=True) == (rows, None)
    assert [len(row) for row in served.encode_to([text, "good"], 5, truncates=True)[0]] == [5, 3]
    assert served.encode_to(["good"], 3, truncates=False)[0] == rows[1:]
    with pytest.raises(ValueError) as error:
        served.encode_to(["good", text], None, truncates=False)
    assert error.value.args == (1, 22, 8)
    assert served.encode([text])[0] == rows[:1]  # a request's own length is not kept


@pytest.mark.parametrize(
    ("config", "task", "classes"),
    [
        ({}, "single_label_classification", ["LABEL_0", "LABEL_1"]),
        ({"num_labels": 3}, "single_label_classification", ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"id2label": {0: "x", 1: "y"}, "problem_type": "multi_label_classification"}, None, ["x", "y"]),
        ({"num_labels": 1, "problem_type": "regression"}, "regression", ["LABEL_0"]),
        ({"num_labels": 1}, "multi_label_classification", ["LABEL_0"]),
    ],
)
def test_a_model_of_another_trainer_is_served_as_transformers_does(
    tiny_model: Path, tmp_path: Path, config: dict[str, Any], task: str | None, classes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(precision, "is_bf16_faster", lambda: False)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, **config)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    (tmp_path / "model.tar.gz").write_bytes(b"the SDK's local mode leaves it here")
    served = load(tmp_path)
    assert served.outputs.task.problem_type == (task or config["problem_type"])
    assert (served.outputs.classes, served.max_length) == (classes, 128)
    expected = pipeline("text-classification", model=str(tmp_path))(["good bad"], top_k=None)[0]
    request = read_request(b'{"inputs": "good bad", "parameters": {"top_k": null}}', JSON, ServeSettings(), ())
    found = json.loads(render(request, logits(served, ["good bad"]), JSON, served.outputs))
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=1e-5)


def test_a_folder_that_cannot_be_served_is_one_sentence(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no model; mount the folder that model.tar.gz was unpacked to"):
        load(tmp_path)
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    with pytest.raises(SettingsError, match="its head is not trained"):
        load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, sentence in (
        ({"id2label": 5}, "config.json has id2label=5, which is not an object; save it again with save_pretrained"),
        ({"id2label": {"0": "a", "5": "b"}}, "cannot be loaded \\(config.json: KeyError: 1\\); save it again"),
        ({"problem_type": "ranking"}, "config.json has problem_type='ranking', which is none of single_label_classif"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(SettingsError, match=sentence):
            load(tmp_path)
    (tmp_path / "training_manifest.json").write_text("[]")
    with pytest.raises(SettingsError, match="cannot be read; unpack model.tar.gz again"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("config.json", {"num_labels": 10**10}, "config.json has num_labels=10000000000, which is not at least 1"),
        ("config.json", {"max_position_embeddings": -64}, "it reads -64 tokens of a text (model_max_length in"),
        ("tokenizer_config.json", {"unk_token": ""}, "tokenizer_config.json has an empty unk_token"),
        ("tokenizer_config.json", {"model_max_length": -5}, "it reads -5 tokens of a text (model_max_length in"),
        ("tokenizer_config.json", {"model_max_length": 2}, "it reads 2 tokens of a text (model_max_length in"),
        ("tokenizer_config.json", {"model_max_length": "9"}, "tokenizer_config.json has model_max_length='9', which"),
    ],
)
def test_a_model_without_manifest_is_checked_before_transformers_reads_it(
    tiny_model: Path, tmp_path: Path, name: str, changes: dict[str, Any], sentence: str
) -> None:
    """In a process of its own: transformers makes a name for each of ten billion labels, and looks for ever for the id
    of an empty token."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))

    def work() -> int:
        with pytest.raises(SettingsError, match=re.escape(sentence)):
            load(folder)
        return 0

    ended = run_bounded(work, tmp_path / "log", 10, 2 << 30)
    assert ended.code == 0, ended


def test_a_panic_of_the_tokenizers_library_is_the_models_fault(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no Exception: the thread that loads the model would end, and the server wait for it for ever."""
    panic = type("PanicException", (BaseException,), {})

    def read(*_: Any, **__: Any) -> Any:
        raise panic("index out of bounds")

    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", read)
    with pytest.raises(SettingsError, match=r"cannot be loaded \(its tokenizer: index out of bounds\); save it again"):
        load(tmp_path)


def test_a_model_of_a_stopped_training_is_served_with_a_warning(
    trained: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.base / "model", tmp_path, dirs_exist_ok=True)
    manifest = json.loads((tmp_path / "training_manifest.json").read_text())
    (tmp_path / "training_manifest.json").write_text(json.dumps(manifest | {"status": "stopped", "steps": 3}))
    load(tmp_path)
    assert "WARNING: training was stopped after step 3\n" in capsys.readouterr().out


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A completed job of pairs: are both texts of one kind?"""
    job = Job(tmp_path_factory.mktemp("pairs"))
    words = [words.split() for words, _ in (GOOD, BAD)]
    rows = [(words[n % 2][: 1 + n % 5], words[n // 2 % 2][n % 3 :], n % 2 == n // 2 % 2) for n in range(48)]
    lines = [f"{' '.join(first)},{' '.join(second)},{'yes' if same else 'no'}\n" for first, second, same in rows]
    job.write("train", "rows.csv", "a,b,label\n" + "".join(lines))
    (job.base / "input" / "data" / "model").mkdir()
    model = job.base / "input" / "data" / "model"
    write_tiny_model(model)
    names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | names))
    weights = load_file(model / "model.safetensors")
    weights["embeddings.token_type_embeddings.weight"] *= 50  # so that wrong token types show
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    settings = ["--text_columns=a", "--text_pair_columns=b", "--max_sequence_length=8", "--export=onnx"]
    code, log = job.run("--epochs=1", "--precision=fp32", *settings)
    assert code == 0, log
    return job


def test_pairs_are_answered_as_by_the_pipeline_and_by_predict(pairs: Job, tmp_path: Path) -> None:
    served, folder = load(pairs.base / "model"), pairs.base / "model"
    lines = (pairs.base / "input" / "data" / "train" / "rows.csv").read_text().splitlines()
    both = [dict(zip(("text", "text_pair"), line.split(",")[:2], strict=True)) for line in lines[1:]]
    request = read_request(json.dumps(both).encode(), JSON, ServeSettings(), served.text_columns, served.pair_columns)
    found = logits(served, request.texts)
    untyped = served.logits([list(row) for row in served.encode(request.texts)[0]])
    assert np.abs(found - untyped).max() > 1e-4
    classify = pipeline("text-classification", model=str(folder), truncation=True, max_length=8)
    for row, texts in zip(found, both, strict=True):
        expected = classify(texts, top_k=None, function_to_apply="none")
        theirs = {entry["label"]: entry["score"] for entry in expected}
        assert row.tolist() == pytest.approx([theirs[name] for name in served.outputs.classes], abs=1e-5)
    probabilities = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    by_place = {f"rows.csv line {number + 2}": row[1] for number, row in enumerate(probabilities)}
    data = pairs.base / "input" / "data" / "train" / "rows.csv"
    assert predict.main([f"--model={folder}", f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]) == 0
    for path, rows in (
        (tmp_path / "scores.csv", 48), (pairs.base / "output" / "data" / "predictions_validation.csv", 4)
    ):  # fmt: skip
        with path.open(newline="") as file:
            predicted = list(csv.DictReader(file))
        assert len(predicted) == rows
        for line in predicted:
            ours = by_place[line["row"].removeprefix("train/")]
            assert float(line["probability_yes"]) == pytest.approx(ours, abs=1e-5)


def test_pairs_are_truncated_as_in_training_or_at_the_length_of_the_request(pairs: Job) -> None:
    served = load(pairs.base / "model")
    texts = [pair("good " * 20, "bad great"), pair("good", "bad")]
    rows, truncated, _ = served.encode(texts)
    assert ([len(row) for row in rows], truncated) == ([8, 5], 1)
    whole, _ = served.encode_to(texts, None, truncates=True)
    assert whole == rows
    assert [row.second for row in whole] == [row.second for row in rows] == [5, 3]  # type: ignore[attr-defined]
    assert [len(row) for row in served.encode_to(texts, 6, truncates=True)[0]] == [6, 5]
    with pytest.raises(ValueError) as error:
        served.encode_to(texts, None, truncates=False)
    assert error.value.args == (0, 25, 8)


def test_a_job_of_pairs_says_so_in_all_it_leaves(pairs: Job) -> None:
    folder = pairs.base / "model"
    manifest = json.loads((folder / "training_manifest.json").read_text())
    assert manifest["hyperparameters"]["text_pair_columns"] == "b"
    assert manifest["onnx"]["inputs"] == ["input_ids", "token_type_ids", "attention_mask"]
    card = (folder / "README.md").read_text()
    assert 'classify({"text": "The first text.", "text_pair": "The second text."})' in card
    assert "The model reads 8 tokens of a pair of texts, of which the longer one is truncated first, and can" in card
    report = (pairs.base / "output" / "data" / "report.html").read_text()
    assert "The model reads 8 tokens of a pair of texts, of which the longer one is truncated first (tokens" in report
    assert re.search("(good|bad)[a-z ]* \\| [a-z]+", report) and "\0" not in report


def test_predict_refuses_single_texts_for_pairs_and_pairs_for_single_texts(
    pairs: Job, trained: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs.base / "input" / "data" / "train" / "rows.csv"
    common = [f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]
    for job, flag, kind in ((pairs, "", "pairs of texts"), (trained, "b", "single texts")):
        options = [f"--model={job.base / 'model'}", "--text_columns=a", f"--text-pair-columns={flag}"]
        assert predict.main([*options, *common]) == 1
        sentence = f"the model was trained on {kind}; correct --text-pair-columns, or remove it"
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("truncation", "side"), [("tail", "right"), ("head", "left")])
def test_a_model_of_the_last_tokens_is_served_as_it_was_trained(tmp_path: Path, truncation: str, side: str) -> None:
    """By its setting, or by its tokenizer."""
    job = Job(tmp_path)
    rows = [(f"{text} {' '.join(reversed(text.split() * 2))}", label) for text, label in easy_rows(48)]
    job.write("train", "reviews.tsv", table(rows))
    model = job.base / "input" / "data" / "model"
    model.mkdir()
    write_tiny_model(model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"truncation_side": side}))
    code, log = job.run("--epochs=1", "--precision=fp32", "--max_sequence_length=8", f"--truncation={truncation}")
    assert code == 0, log
    folder = job.base / "model"
    for page in (folder / "README.md", job.base / "output" / "data" / "report.html"):
        assert "The model reads the last 8 tokens of a text" in page.read_text()
    assert json.loads((folder / "training_manifest.json").read_text())["truncation_side"] == "left"
    texts, served = texts_of(job), load(folder)
    classify = pipeline("text-classification", model=str(folder), truncation=True, max_length=8)
    found = logits(served, texts)
    for row, answer in zip(found, classify(texts, top_k=None, function_to_apply="none"), strict=True):
        theirs = {entry["label"]: entry["score"] for entry in answer}
        assert row.tolist() == pytest.approx([theirs[name] for name in served.outputs.classes], abs=1e-5)
    whole, _ = served.encode_to(texts, None, truncates=True)
    assert whole == served.encode(texts)[0]
    assert served.encode_to(texts, 5, truncates=True)[0] == [[ids[0], *ids[-4:]] for ids in whole]
    data = job.base / "input" / "data" / "train" / "reviews.tsv"
    assert predict.main([f"--model={folder}", f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]) == 0
    with (tmp_path / "scores.csv").open(newline="") as file:
        scores = [float(row["probability_positive"]) for row in csv.DictReader(file)]
    odds = np.exp(found[:, 1] - found[:, 0])
    assert scores == pytest.approx((odds / (1 + odds)).tolist(), abs=1e-5)
