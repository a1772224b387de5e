"""Whole runs of train.py on a tiny model, each in a process of its own."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import train
from support.jobs import Job, easy_rows, table

QUICK = ("--epochs=3", "--learning_rate=0.01", "--train_batch_size=8", "--precision=fp32")


def weights(job: Job) -> str:
    return hashlib.sha256((job.base / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_learns_and_leaves_a_model_that_classifies(ready_job: Job) -> None:
    code, log = ready_job.run(*QUICK)
    assert code == 0, log
    assert re.findall(r"^epoch=\d+; .* accuracy=1; .*auprc=1;$", log, re.MULTILINE), log
    assert ready_job.metrics["accuracy"] == 1.0
    report = json.loads((ready_job.base / "output" / "data" / "data_report.json").read_text())
    assert report["splits"]["train"]["classes"] == {"negative": 29, "positive": 29}
    assert report["tokens"]["train"]["max"] == 11 and report["tokens"]["train"]["truncated"] == 0
    names = {path.name for path in (ready_job.base / "model").iterdir()}
    assert names == {
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "training_manifest.json",
    }  # fmt: skip
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in (ready_job.base / "model").iterdir())

    from transformers import pipeline

    classify = pipeline("text-classification", model=str(ready_job.base / "model"))
    assert [answer["label"] for answer in classify(["lovely superb", "dreadful dull"])] == [
        "positive",
        "negative",
    ]
    config = json.loads((ready_job.base / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}


def test_the_last_values_in_the_log_are_those_of_the_model(ready_job: Job) -> None:
    """SageMaker's final metrics, and a tuning job's objective, are the last that the log has."""
    swapped = {"positive": "negative", "negative": "positive"}
    ready_job.write("validation", "reviews.tsv", table((text, swapped[label]) for text, label in easy_rows(10)))
    code, log = ready_job.run(*QUICK)
    assert code == 0, log
    values = re.findall(r"^epoch=\d; step=\d+; (.*)$", log, re.MULTILINE)
    best = int(ready_job.metrics["best_epoch"])  # type: ignore[call-overload]
    assert best < len(values) == 3, "the more is learned, the worse are the swapped labels predicted"
    assert log.count(f"the model is that of epoch {best}: {values[best - 1]}\n") == 1
    assert log.rindex("f1_macro=") > log.rindex("epoch=3;") + len("epoch=3;") + len(values[2])


def test_a_seed_gives_the_same_weights_twice_and_another_seed_others(ready_job: Job) -> None:
    found = []
    for seed in (1, 1, 2):
        ready_job.clear()
        code, log = ready_job.run(*QUICK, f"--seed={seed}")
        assert code == 0, log
        found.append(weights(ready_job))
    assert found[0] == found[1] != found[2]


def test_two_processes_give_the_losses_of_one_with_twice_the_batch(ready_job: Job, tmp_path: Path) -> None:
    rows = easy_rows(77)  # the last batch leaves one rank without a row
    ready_job.write("train", "reviews.tsv", table(rows))
    ready_job.write("validation", "reviews.tsv", table(easy_rows(20)))
    options = ("--epochs=4", "--learning_rate=0.001", "--precision=fp32")
    code, log = ready_job.run(*options, "--train_batch_size=4")
    assert code == 0, log
    alone = ready_job.metrics["epochs"]
    ready_job.clear()

    codes, logs = ready_job.run_ranks(*options, "--train_batch_size=2", each=[{}, {}])
    assert codes == [0, 0], logs
    together = ready_job.metrics["epochs"]
    assert isinstance(alone, list) and isinstance(together, list)
    for one, two in zip(alone, together, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-5)
    assert "rank 0 of 2 trained on 39 of 77 rows" in logs[0]
    assert "rank 1 of 2 trained on 38 of 77 rows" in logs[1]
    assert "epoch=1;" not in logs[1]


def test_the_best_epoch_is_saved(ready_job: Job) -> None:
    ready_job.write("test", "reviews.tsv", table(easy_rows(10)))
    code, log = ready_job.run(*QUICK, "--epochs=4")
    assert code == 0, log
    report = ready_job.metrics
    epochs = report["epochs"]
    assert isinstance(epochs, list)
    scores = [(epoch["f1_macro"], -epoch["validation_loss"]) for epoch in epochs]
    best = scores.index(max(scores)) + 1
    assert (report["best_epoch"], report["best_evaluation"], report["evaluations_per_epoch"]) == (best, best, 1)
    assert report["f1_macro"] == max(scores)[0]
    assert isinstance(report["test"], dict) and report["test"]["accuracy"] == 1.0


def test_an_early_stop_is_in_every_output(ready_job: Job) -> None:
    swapped = {"positive": "negative", "negative": "positive"}
    ready_job.write("validation", "reviews.tsv", table((text, swapped[label]) for text, label in easy_rows(10)))
    code, log = ready_job.run(
        *QUICK, "--epochs=9", "--evaluations_per_epoch=2", "--early_stopping_patience=2", "--max_tokens_per_gpu=50"
    )
    assert code == 0, log
    metrics: dict[str, Any] = ready_job.metrics
    done, best = metrics["stopped_early_after"], metrics["best_evaluation"]
    assert done == best + 2 == len(metrics["epochs"]) < 18 and metrics["steps"] == 4 * done
    assert f"stopped early after {done} of 18 evaluations: f1_macro has not improved in the last 2\n" in log
    assert f"epoch={best / 2:g}; step={4 * best}; train_loss=" in log
    assert f"the model is that of epoch {best / 2:g}: train_loss=" in log
    assert metrics["best_epoch"] == math.ceil(best / 2) and metrics["max_tokens_per_gpu"] == 50
    manifest = json.loads((ready_job.base / "model" / "training_manifest.json").read_text())
    assert (manifest["status"], manifest["stopped_early_after"]) == ("completed", done)
    card = (ready_job.base / "model" / "README.md").read_text()
    weights = f"{4 * done} steps (stopped early), weights of epoch {best / 2:g}."
    assert weights in card and weights in (ready_job.base / "output" / "data" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--epocs=1",), "Your settings: unknown hyperparameter 'epocs'; did you mean epochs?"),
        (
            ("--text_columns=body",),
            "Your data: train/reviews.tsv has no column 'body'; set text_columns to one of",
        ),
        (
            ("--label_map=1=a;2=b",),
            "Your data: train/reviews.tsv line 2 has the label 'positive', which is not one of",
        ),
        (
            ("--max_sequence_length=129",),
            "Your settings: max_sequence_length=129 exceeds the model's 128 positions",
        ),
        (
            ("--learning_rate=1e30", "--max_grad_norm=0", "--epochs=2"),
            "Your settings: the model's weights or losses are not finite",
        ),
    ],
)
def test_a_users_mistake_is_one_sentence(ready_job: Job, arguments: tuple[str, ...], sentence: str) -> None:
    code, log = ready_job.run("--precision=fp32", *arguments)
    assert code == 1
    assert ready_job.failure.startswith(sentence), ready_job.failure
    assert "Traceback" not in log
    assert list((ready_job.base / "model").glob("*")) == []


def test_a_missing_train_channel_is_one_sentence(job: Job) -> None:
    code, _ = job.run()
    assert code == 1
    assert (
        job.failure == "Your settings: the job has no channel 'train'; name the channel with the training files 'train'"
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("README", "Your settings: the channel 'model' has no config.json; provide a model folder as"),
        ("config.json", "Your settings: the channel 'model' has no .safetensors weights; save them with"),
    ],
)
def test_a_wrong_model_channel_is_one_sentence(job: Job, name: str, sentence: str) -> None:
    job.write("train", "reviews.tsv", table(easy_rows(20)))
    job.write("model", name, "{}")
    code, log = job.run()
    assert code == 1
    assert job.failure.startswith(sentence)
    assert "Traceback" not in log


def test_a_model_that_the_hub_does_not_give_is_one_sentence(job: Job) -> None:
    job.write("train", "reviews.tsv", table(easy_rows(20)))
    job.environment["HF_HUB_OFFLINE"] = "1"
    code, log = job.run("--model_name=no/such-model")
    assert code == 1
    assert job.failure.startswith(
        "Your settings: model_name='no/such-model' cannot be loaded from the hub (HF_HUB_OFFLINE"
    )
    assert "Traceback" not in log


def test_a_stop_signal_saves_the_model_and_says_so(ready_job: Job) -> None:
    process = ready_job.start(*QUICK, "--epochs=100000", "--log_seconds=0")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 20 "):
            process.send_signal(signal.SIGTERM)
            break
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert json.loads((ready_job.base / "model" / "training_manifest.json").read_text())["status"] == "stopped"
    assert "Training was stopped after step" in (ready_job.base / "model" / "README.md").read_text()
    assert {path.name for path in (ready_job.base / "output" / "data").iterdir()} == {
        "data_report.json",
        "metrics.json",
    }
    assert "(stopped after step" in log


def test_a_stop_signal_before_the_first_step_leaves_no_prepared_data(ready_job: Job, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    left_over = temporary / "prepared-alone-of-a-killed-process"
    left_over.mkdir(parents=True)
    process = ready_job.start(*QUICK, TMPDIR=str(temporary))
    while list(temporary.glob("prepared-*")) in ([], [left_over]):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert list(temporary.glob("prepared-*")) == []


def test_a_stop_signal_before_the_work_ends_at_once_and_writes_nothing(ready_job: Job) -> None:
    process = ready_job.start(*QUICK)
    time.sleep(0.5)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert time.monotonic() - started < 2 + 3 * (os.getloadavg()[0] > 2)
    assert process.returncode in (0, -signal.SIGTERM)  # the latter before Python itself has started
    assert not list((ready_job.base / "model").glob("*"))


def test_what_is_imported_is_no_garbage() -> None:
    """It stays for good: to look for garbage in it takes time, at the start and while the job trains."""
    program = "import gc, train; train.import_job(); print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(train.__file__).parent, capture_output=True, text=True, check=True
    )
    assert found.stdout == "True True\n"
