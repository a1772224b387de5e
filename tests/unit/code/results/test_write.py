"""The files that one job leaves, and that they load for serving."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predict
from support.jobs import Job, easy_rows, table
from support.pages import Page
from support.schema_check import problems_of_job
from support.tiny_model import write_tiny_model
from text_classifier.evaluation import calibration
from text_classifier.reading.rows import Places, Rows
from text_classifier.reading.strings import Strings
from text_classifier.results import artifact, baselines, label_issues, report
from text_classifier.results.answers import answers
from text_classifier.results.evaluated import Evaluated
from text_classifier.results.write import Results, measure
from text_classifier.runtime.folders import JobFolders
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.single_label import SingleLabel

HOSTILE = '<script>document.title="run"</script><img src=x onerror=alert(1)> good dull'


TERMS = {"LICENSE", "license.txt", "NOTICE.md", "LICENCE-MIT", "COPYING"}
NO_TERMS = {"README.md", "LICENSE.py", "notice.safetensors.index"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A completed job with a validation and a test channel; a text of the former tries to break out of the page."""
    job = Job(tmp_path_factory.mktemp("done"), {"IMAGE_REVISION": "0123abc", "IMAGE_DIGEST": "sha256:4d"})
    job.write("train", "reviews.tsv", table(easy_rows(64)))
    rows = table([*easy_rows(16), (HOSTILE, "positive"), ("fine", "negative")]).splitlines()
    kinds = ["kind", *["books"] * 17, "<b>toys</b>"]
    job.write("validation", "reviews.tsv", "".join(f"{row}\t{kind}\n" for row, kind in zip(rows, kinds, strict=True)))
    job.write(
        "test",
        "reviews.jsonl",
        '{"text": "superb", "label": "positive", "kind": "books"}\n{"text": "awful", "label": "negative"}\n',
    )
    (job.base / "input" / "data" / "model").mkdir()
    write_tiny_model(job.base / "input" / "data" / "model")
    for name in (*TERMS, *NO_TERMS):
        job.write("model", name, f"{name}: as is")
    code, log = job.run(
        "--epochs=3", "--learning_rate=0.01", "--train_batch_size=8", "--precision=fp32", "--slice_column=kind"
    )
    assert code == 0, log
    return job


def predictions(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_output_is_for_people_and_for_machines(done: Job) -> None:
    output = done.base / "output" / "data"
    assert {path.name for path in output.iterdir()} == {
        "data_report.json", "metrics.json", "report.html", "label_issues.csv", "tensorboard",
        "predictions_validation.csv", "predictions_test.csv",
    }  # fmt: skip
    metrics: Any = done.metrics
    best = metrics["epochs"][metrics["best_epoch"] - 1]
    validation = metrics["validation"]
    assert {name: metrics[name] for name in best} == best
    assert validation["log_loss"] == pytest.approx(best["validation_loss"], rel=1e-6)
    for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro", "roc_auc", "auprc"):
        assert validation[name] == pytest.approx(best[name], abs=1e-9)
    for split, rows in (("validation", 18), ("test", 2)):
        assert metrics[split]["rows"] == rows == metrics["rows"][split]
        assert all(low <= metrics[split][name] <= high for name, (low, high) in metrics[split]["intervals"].items())
    assert [entry["name"] for entry in metrics["baselines"]] == [
        SingleLabel.constant_baseline,
        SingleLabel.tfidf_baseline,
    ]
    assert metrics["headline"] == "accuracy" and metrics["baselines"][0]["accuracy"] == 0.5
    assert metrics["baselines"][1]["accuracy"] > 0.8


def test_the_public_files_keep_to_the_schema(done: Job) -> None:
    assert problems_of_job(done.base) == []


def test_the_curve_and_the_throughput_are_those_of_the_training(done: Job) -> None:
    metrics: Any = done.metrics
    losses = np.array(metrics["loss_curve"]["losses"])
    for number, epoch in enumerate(metrics["epochs"]):
        assert losses[8 * number : 8 * number + 8].mean() == pytest.approx(epoch["train_loss"], rel=1e-5)
    speed = metrics["throughput"]
    assert speed["rows"] == 3 * 64 and 0 <= speed["padding"] < 0.5
    assert speed["rows_per_second"] == pytest.approx(3 * 64 / speed["seconds"])
    assert 5 < speed["tokens_per_second"] / speed["rows_per_second"] < 12  # tokens of a text
    page = Page((done.base / "output" / "data" / "report.html").read_text())
    assert f"Training processed {speed['rows_per_second']:,.0f} texts or" in page.text


def test_metrics_are_sliced_by_the_column(done: Job) -> None:
    metrics: Any = done.metrics
    for split in ("validation", "test"):
        [others] = metrics[split]["by_slice"]  # neither value has rows enough to stand alone
        assert (others["value"], others["slices"], others["rows"]) == (None, 2, metrics[split]["rows"])
        assert others["accuracy"] == metrics[split]["accuracy"]


def test_predictions_are_those_that_were_measured(done: Job) -> None:
    rows = predictions(done.base / "output" / "data" / "predictions_validation.csv")
    metrics: Any = done.metrics
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == metrics["validation"]["accuracy"]
    losses = [-np.log(float(row[f"probability_{row['label']}"])) for row in rows]
    assert np.mean(losses) == pytest.approx(metrics["validation"]["log_loss"], rel=1e-4)
    assert [row["row"] for row in rows] == [f"validation/reviews.tsv line {line}" for line in range(2, 20)]


def test_the_manifest_says_how_the_model_came_to_be(done: Job) -> None:
    manifest = json.loads((done.base / "model" / "training_manifest.json").read_text())
    metrics: Any = done.metrics
    assert (manifest["status"], manifest["steps"], manifest["code_revision"]) == ("completed", 24, "0123abc")
    assert manifest["image_digest"] == "sha256:4d"
    assert manifest["temperature"] == metrics["validation"]["calibration"]["recommended_temperature"]
    base = {"name": "model channel", "architecture": "bert", "revision": None, "source": "unknown"}
    assert manifest["base_model"] == base
    data = (done.base / "input" / "data" / "train" / "reviews.tsv").read_bytes()
    assert manifest["files"]["train/reviews.tsv"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert {name.partition("/")[0] for name in manifest["files"]} == {"train", "validation", "test", "model"}


def test_the_licenses_of_the_base_model_go_with_it(done: Job) -> None:
    folder = done.base / "model"
    assert {path.name for path in folder.iterdir() if path.read_bytes().endswith(b": as is")} == TERMS


def test_the_model_card_has_the_metrics_and_the_data(done: Job) -> None:
    path = done.base / "model" / "README.md"
    card = path.read_text()
    metrics: Any = done.metrics
    assert card.startswith("---\nlibrary_name: transformers\n")
    low, high = metrics["test"]["intervals"]["f1_macro"]
    assert f"| f1_macro | {metrics['test']['f1_macro']:.4f} ({low:.4f} to {high:.4f}) |" in card
    assert (
        "| learning_rate | 0.01 |" in card and "| `train/reviews.tsv` |" in card and SingleLabel.tfidf_baseline in card
    )
    assert "No temperature is recommended for the probabilities: there are too few validation rows" in card
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_hub_reads_the_headline_metrics_from_the_card(done: Job) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(done.base / "model" / "README.md").data
    metrics: Any = done.metrics
    found = {(one.dataset_split, one.metric_type, one.metric_name): one.metric_value for one in data.eval_results or []}
    assert found == {(split, "accuracy", "accuracy"): metrics[split]["accuracy"] for split in ("validation", "test")}
    assert data.model_name == "Text classifier: negative, positive" and data.pipeline_tag == "text-classification"


def test_a_card_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no card")

    monkeypatch.setattr(artifact, "write_card", fail)
    given: Any = {"headline": "accuracy"}
    Results(tmp_path, tmp_path, evaluated(3, ("no", "yes"), "text"), given, given).write_metrics()
    shown = capsys.readouterr()
    assert "ValueError: no card" in shown.err and shown.out.startswith("WARNING: the model card could not be made")
    assert json.loads((tmp_path / "metrics.json").read_text()) == given


def test_the_events_hold_the_curves(done: Job) -> None:
    from tensorboardX.proto.event_pb2 import Event

    [path] = (done.base / "output" / "data" / "tensorboard").iterdir()
    content, found = path.read_bytes(), {}
    while content:  # a record: length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        content = content[16 + length :]
    epochs: Any = done.metrics["epochs"]
    wanted = {(name, number): value for number, epoch in enumerate(epochs, 1) for name, value in epoch.items()}
    curve: Any = done.metrics["loss_curve"]
    assert curve["steps"] == list(range(1, 25))
    wanted |= {("train_loss_by_step", step): loss for step, loss in zip(*curve.values(), strict=True)}
    assert found == pytest.approx(wanted, rel=1e-6)


def test_the_report_is_one_file_in_which_nothing_can_run(done: Job) -> None:
    page = Page((done.base / "output" / "data" / "report.html").read_text())
    page.require_self_contained()
    assert HOSTILE in page.text  # shown, not run
    metrics: Any = done.metrics
    assert f"{100 * metrics['test']['accuracy']:.1f} %" in page.text
    assert "TF-IDF and logistic regression" in page.text
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 6


def test_the_model_serves_through_a_pipeline_as_it_was_measured(done: Job) -> None:
    from transformers import pipeline

    as_the_card_says = {"truncation": True, "max_length": 128}
    classify = pipeline(
        "text-classification", model=str(done.base / "model"), function_to_apply="none", top_k=None, **as_the_card_says
    )
    with (done.base / "input" / "data" / "validation" / "reviews.tsv").open() as file:
        texts = [line.split("\t")[0] for line in file][1:]
    rows = predictions(done.base / "output" / "data" / "predictions_validation.csv")
    for row, answer in zip(rows, classify(texts), strict=True):
        logits = {entry["label"]: entry["score"] for entry in answer}
        margin = np.log(float(row["probability_positive"])) - np.log(float(row["probability_negative"]))
        assert logits["positive"] - logits["negative"] == pytest.approx(margin, abs=1e-5)


def test_the_tokenizer_has_a_class_that_transformers_4_knows_too(done: Job) -> None:
    config = json.loads((done.base / "model" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def run_predict(done: Job, data: Path, output: Path, *more: str) -> int:
    return predict.main([f"--model={done.base / 'model'}", f"--data={data}", f"--output={output}", *more])


def test_predict_gives_what_was_measured(
    done: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict, "CHUNK", 7)
    assert run_predict(done, done.base / "input" / "data" / "validation" / "reviews.tsv", tmp_path / "scores.csv") == 0
    assert "18 rows classified" in capsys.readouterr().out
    measured = predictions(done.base / "output" / "data" / "predictions_validation.csv")
    for row, other in zip(predictions(tmp_path / "scores.csv"), measured, strict=True):
        assert f"validation/{row['row']}" == other["row"] and row["predicted"] == other["predicted"]
        assert float(row["probability_positive"]) == pytest.approx(float(other["probability_positive"]), abs=1e-5)
    assert list(tmp_path.iterdir()) == [tmp_path / "scores.csv"]


def test_predict_takes_rows_without_labels_and_the_temperature(done: Job, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text('text,id\n"good, great",1\n,2\n')
    margins = []
    for options in ([], ["--calibrated"]):
        assert run_predict(done, tmp_path / "new.csv", tmp_path / "scores.csv", *options) == 0
        rows = predictions(tmp_path / "scores.csv")
        margins.append([np.log(float(r["probability_positive"]) / float(r["probability_negative"])) for r in rows])
    manifest = json.loads((done.base / "model" / "training_manifest.json").read_text())
    assert np.array(margins[1]) * manifest["temperature"] == pytest.approx(np.array(margins[0]), abs=1e-4)


def test_rows_are_named_by_their_id(ready_job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tickets = "".join(f'T-{n},"{text},\nindeed",{label}\n' for n, (text, label) in enumerate(easy_rows(16)))
    ready_job.write("validation", "tickets.csv", "ticket,text,label\n" + tickets)
    ready_job.write(
        "train",
        "reviews.tsv",
        table([(f"{n}\t{text}", label) for n, (text, label) in enumerate(easy_rows(64))]).replace(
            "text", "ticket\ttext", 1
        ),
    )
    code, log = ready_job.run("--epochs=1", "--id_column=ticket")
    assert code == 0, log
    rows = predictions(ready_job.base / "output" / "data" / "predictions_validation.csv")
    assert [row["id"] for row in rows] == [f"T-{n}" for n in range(16)]
    assert [row["row"] for row in rows[:2]] == [
        "validation/tickets.csv line 2",
        "validation/tickets.csv row 3 (line 4)",
    ]
    assert "<small>T-" in (ready_job.base / "output" / "data" / "report.html").read_text()

    data = ready_job.base / "input" / "data" / "validation" / "tickets.csv"
    assert run_predict(ready_job, data, tmp_path / "scores.csv") == 0
    assert [row["id"] for row in predictions(tmp_path / "scores.csv")] == [f"T-{n}" for n in range(16)]
    (tmp_path / "new.csv").write_text("text;number\ngood;7\nbad;8\n")
    assert run_predict(ready_job, tmp_path / "new.csv", tmp_path / "scores.csv") == 0
    assert "id" not in predictions(tmp_path / "scores.csv")[0]
    assert run_predict(ready_job, tmp_path / "new.csv", tmp_path / "scores.csv", "--id-column=number") == 0
    assert [row["id"] for row in predictions(tmp_path / "scores.csv")] == ["7", "8"]
    assert run_predict(ready_job, tmp_path / "new.csv", tmp_path / "scores.csv", "--id_column=none") == 1
    assert "new.csv has no column 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "Your data: .*new.csv has no rows; give it"),
        ("id\n1\n", "Your data: new.csv has no column .* or 'text'; set text_columns to one of"),
        ("text\na,b\n", "Your data: new.csv line 2 has 2 fields, the header has 1"),
    ],
)
def test_a_mistake_in_predict_is_one_sentence_and_leaves_nothing(
    done: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, sentence: str
) -> None:
    (tmp_path / "new.csv").write_text(content)
    assert run_predict(done, tmp_path / "new.csv", tmp_path / "scores.csv") == 1
    assert re.match(sentence, capsys.readouterr().err)
    assert os.listdir(tmp_path) == ["new.csv"]


def test_predict_wants_a_model_and_a_place_to_write(
    done: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = done.base / "input" / "data" / "test" / "reviews.tsv"
    assert run_predict(done, data, tmp_path / "no folder" / "scores.csv") == 1
    assert capsys.readouterr().err.startswith("Your settings: --output cannot be written to")
    assert run_predict(done, tmp_path / "none.csv", tmp_path / "scores.csv") == 1
    assert re.match("Your settings: --data .*none.csv is not a file;", capsys.readouterr().err)
    assert predict.main([f"--model={tmp_path}", f"--data={data}", f"--output={tmp_path / 'scores.csv'}"]) == 1
    assert "has no readable training_manifest.json" in capsys.readouterr().err


def test_predict_reads_models_from_before_the_schema_and_refuses_other_versions(
    done: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((done.base / "model" / "training_manifest.json").read_text())
    version = manifest.pop("schema_version")
    (tmp_path / "training_manifest.json").write_text(json.dumps(manifest))
    assert predict._manifest(tmp_path) == manifest
    (tmp_path / "training_manifest.json").write_text(json.dumps({**manifest, "schema_version": version + 1}))
    assert predict.main([f"--model={tmp_path}", "--data=new.csv", f"--output={tmp_path / 'scores.csv'}"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert re.match(f"Your settings: .* has schema_version {version + 1} and this image reads {version}; use the", line)


def evaluated(rows: int, classes: tuple[str, ...], text: str) -> Evaluated:
    """A split of random rows as training and as validation, all of them with one text."""
    random = np.random.default_rng(1)
    truth = random.integers(0, len(classes), rows)
    logits = random.normal(size=(rows, len(classes))).astype(np.float32)
    logits[np.arange(rows), truth] += 1
    lengths, everything = random.integers(3, 128, rows), np.arange(rows)
    of_split = Rows(
        channel="train",
        texts=Strings.of([text]).take(np.zeros_like(everything)),
        places=Places(["validation/reviews.tsv line"], np.zeros_like(everything), everything, everything),
        targets=truth,
        characters=np.full(rows, len(text)),
        exact=everything,
        near=everything,
        groups=np.zeros(0),
        slices=np.zeros(0, dtype=np.int64),
    )
    return Evaluated(
        task=SingleLabel(),
        classes=classes,
        rows={"train": of_split, "validation": of_split},
        lengths={"train": lengths, "validation": lengths},
        logits={"validation": logits},
        training_logits=None,
        seed=1,
        full_lengths=lambda texts: random.integers(3, 400, len(texts)),
    )


def write_report(path: Path, given: Evaluated, done: Job) -> str:
    manifest = json.loads((done.base / "model" / "training_manifest.json").read_text())
    logits, rows = given.logits["validation"], given.rows["validation"]
    measured = measure(given, "validation", 1)
    predicted = given.task.constant(rows.targets, len(rows))
    compared = baselines.compare(
        given.task, "baseline", predicted, logits.argmax(axis=1), rows.targets, len(given.classes), len(rows), seed=1
    )
    metrics = {
        "classes": list(given.classes), "rows": dict.fromkeys(("train", "validation"), len(rows)),
        "epochs": done.metrics["epochs"], "loss_curve": done.metrics["loss_curve"], "throughput": {}, "best_epoch": 1,
        "validation": measured, "baselines": [compared],
    }  # fmt: skip
    report.write(path, given, metrics, manifest, label_issues.find(given))
    return path.read_text()


def test_the_report_of_100_000_rows_stays_small(done: Job, tmp_path: Path) -> None:
    html = write_report(tmp_path / "report.html", evaluated(100_000, ("no", "yes"), "long & longer " * 1000), done)
    Page(html).require_self_contained()
    assert len(html.encode()) < 3e6


def test_the_report_takes_classes_of_any_name_and_number(done: Job, tmp_path: Path) -> None:
    names = ("$x_$", "<b>&", "中文", *(f"class number {index}" for index in range(60)))
    given = evaluated(500, names, "text")
    page = Page(write_report(tmp_path / "report.html", given, done))
    page.require_self_contained()
    assert "<b>&" in page.text and "The first 50 of 63 classes" in page.text
    assert given.temperature is not None and given.temperature.recommended == 1
    assert "No temperature is recommended: fitted on four fifths of the validation texts" in page.text


def svg(page: Page, alt: str) -> str:
    """The picture of the page with this description."""
    [source] = [a["src"] for tag, a in page.elements if tag == "img" and a["alt"] == alt]
    assert source is not None
    return base64.b64decode(source.partition("base64,")[2]).decode()


@pytest.mark.parametrize(("count", "drawn"), [(12, 12), (77, 77), (120, 80)])
def test_the_confusion_matrix_names_its_classes_and_counts_their_rows(
    done: Job, tmp_path: Path, count: int, drawn: int
) -> None:
    given = evaluated(900, tuple(f"class-{index}" for index in range(count)), "text")
    page = Page(write_report(tmp_path / "report.html", given, done))
    picture = svg(page, "Confusion matrix of the validation rows")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    assert sum(text.startswith("class-") for text in texts) == 2 * drawn
    assert ("the 80 classes with the most mistakes" in picture) == (count > 80)
    truth, predicted = given.rows["validation"].targets, given.logits["validation"].argmax(axis=1)
    cells = len(set(zip(truth.tolist(), predicted.tolist(), strict=True)))
    assert sum(text.isdigit() for text in texts) == cells or count > 80
    curves = svg(page, "Precision-recall curve of the validation rows")
    assert f"of the worst 6 of {count}" in curves and len(re.findall(">class-", curves)) == 6
    assert "Threshold for precision 90 %" in page.text


def test_the_most_confused_classes_have_their_most_confident_examples(done: Job) -> None:
    given = evaluated(300, ("a", "b", "c"), "text")
    truth, logits = given.rows["validation"].targets, given.logits["validation"]
    predicted, confidence = logits.argmax(axis=1), calibration.confidences(logits)
    counts = {(t, p): int(np.sum((truth == t) & (predicted == p))) for t in range(3) for p in range(3) if t != p}
    pairs = report.confused_pairs(given)
    assert [pair["rows"] for pair in pairs] == sorted(filter(None, counts.values()), reverse=True)
    for pair in pairs:
        label, guess = "abc".index(pair["label"]), "abc".index(pair["predicted"])
        assert pair["rows"] == counts[label, guess]
        found = [row for row in range(300) if truth[row] == label and predicted[row] == guess]
        best = sorted(found, key=lambda row: -confidence[row])[:3]
        assert [example["place"].split()[-1] for example in pair["examples"]] == [str(row) for row in best]


def test_the_report_has_the_slices_with_their_values_escaped(done: Job, tmp_path: Path) -> None:
    given = evaluated(500, ("no", "yes"), "text")
    names = ("<b>toys</b>", "", "rare")
    rows = replace(given.rows["validation"], slices=np.repeat([0, 1, 2], [250, 240, 10]), slice_values=names)
    given = replace(given, rows=given.rows | {"validation": rows})
    page = Page(write_report(tmp_path / "report.html", given, done))
    page.require_self_contained()
    assert "By kind" in page.text and "<b>toys</b>" in page.text
    assert "(empty)" in page.text and "1 other value" in page.text


def test_the_least_certain_rows_are_shown(done: Job) -> None:
    given = evaluated(200, ("no", "yes"), "text")
    found = report.least_certain(given)
    probabilities = np.exp(calibration.log_probabilities(given.logits["validation"]))
    uncertain = sorted(range(200), key=lambda row: probabilities[row].max())[:20]
    assert found is not None
    assert [entry["place"].split()[-1] for entry in found["rows"]] == [str(row) for row in uncertain]


def test_words_beat_the_majority_where_words_tell() -> None:
    texts, labels = zip(*easy_rows(80), strict=True)
    classes = np.array([label == "positive" for label in labels], dtype=np.int64)
    predicted = baselines.tfidf(SingleLabel(), texts[:60], classes[:60], texts[60:])
    assert predicted is not None and np.mean(predicted == classes[60:]) > 0.9
    assert baselines.tfidf(SingleLabel(), ["1", "2"], np.array([0, 1]), ["3"]) is None
    assert baselines.tfidf(SingleLabel(), ["good", "great"], np.array([1, 1]), ["fine"]) is None
    assert baselines.sample(5, seed=1).tolist() == [0, 1, 2, 3, 4]
    assert len(np.unique(baselines.sample(50_000, seed=1))) == baselines.MOST_ROWS


def test_a_large_channel_is_not_read_once_more(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "HASHED_BYTES", 3)
    job.write("train", "a.csv", b"ab")
    job.write("train", "b.csv", b"cd")
    job.write("test", "a.csv", b"ef")
    assert artifact._files(JobFolders(job.base)) == {
        "train/a.csv": {"bytes": 2, "sha256": None},
        "train/b.csv": {"bytes": 2, "sha256": None},
        "test/a.csv": {"bytes": 2, "sha256": hashlib.sha256(b"ef").hexdigest()},
    }


@pytest.mark.parametrize("task", [SingleLabel(), MultiLabel(",")], ids=["single label", "multi label"])
def test_predictions_of_many_classes_have_the_most_probable_ones(task: SingleLabel | MultiLabel) -> None:
    classes = [f"class {number}" for number in range(201)]
    logits = np.full((2, 201), -9.0, dtype=np.float32)
    logits[0, [7, 3]] = 5, 4
    logits[1, 200] = 6
    shown = answers(task)
    header = shown.header(classes, has_ids=False, has_labels=True)
    ranks = range(1, 6)
    assert header[3:] == [*(f"top_{rank}" for rank in ranks), *(f"top_{rank}_probability" for rank in ranks)]
    first, second = shown.cells(logits, classes)
    assert len(first) == len(header) - 2 and first[1:3] == ["class 7", "class 3"] and second[1] == "class 200"
    assert 0.7 < float(first[6]) < 1 and float(first[6]) > float(first[7])
    assert len(shown.header(classes[:200], has_ids=True, has_labels=False)) == 203


def test_the_baseline_of_many_classes_is_the_nearest_text(monkeypatch: pytest.MonkeyPatch) -> None:
    task = SingleLabel()
    texts = [f"alpha{number} beta{number}" for number in range(300)] * 2
    targets = np.tile(np.arange(300), 2)
    predicted = baselines.tfidf(task, texts, targets, ["beta7 gamma", "alpha299"])
    assert predicted is not None and predicted.tolist() == [7, 299]
    assert task.tfidf_name(targets) == "TF-IDF and nearest neighbor"
    assert task.tfidf_name(targets[:200]) == "TF-IDF and logistic regression"


def test_the_mistakes_of_many_classes_take_the_place_of_the_matrix() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 300, 900)
    logits = random.normal(size=(900, 300)).astype(np.float32)
    found = SingleLabel().assess(logits, truth, [f"c{n}" for n in range(300)], np.full(900, 5), 1.0, seed=1)
    assert "confusion_matrix" not in found and len(found["per_class"]) == 300
    wrong = int((logits.argmax(axis=1) != truth).sum())
    assert sum(entry["rows"] for entry in found["mistakes"]) == wrong
    assert found["mistakes"][0]["rows"] >= found["mistakes"][-1]["rows"]
