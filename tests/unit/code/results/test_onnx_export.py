"""model.onnx: run by onnxruntime it says what the trainer measured, or it is not there."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from support.jobs import Job
from support.schema_check import problems_of_job
from text_classifier.results import onnx_export

TEXTS = ["good", "bad awful poor", "fine lovely superb good great", "dull"]
SMALL = {
    "num_labels": 3, "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 80, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
}  # fmt: skip


def runtime(directory: Path) -> Any:
    """A function from texts to the logits of model.onnx, float32 [texts, outputs]."""
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def logits(texts: list[str]) -> np.ndarray:
        encoded = tokenizer(texts, truncation=True, max_length=64, padding=True, return_tensors="np")
        return session.run(["logits"], {node.name: encoded[node.name] for node in session.get_inputs()})[0]

    return logits


def saved(family: str, folder: Path, tokenizer: Path) -> tuple[Any, Any]:
    """A model of a family with random weights, and a tokenizer, as a job leaves them."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, pad_token_id=0, **SMALL)
    model = AutoModelForSequenceClassification.from_config(config)
    words = AutoTokenizer.from_pretrained(tokenizer)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model, words


@pytest.mark.parametrize("family", ["distilbert", "roberta", "albert"])
def test_any_batch_and_length_give_the_logits_of_the_model(family: str, tmp_path: Path, tiny_model: Path) -> None:
    model, tokenizer = saved(family, tmp_path, tiny_model)
    before = {path.name for path in tmp_path.iterdir()}
    found = onnx_export.export(tmp_path, model, tokenizer, TEXTS, is_pair=False)
    assert {path.name for path in tmp_path.iterdir()} == before | {"model.onnx"}
    assert found["largest_difference"] <= found["tolerance"] == 1e-4
    logits = runtime(tmp_path)
    for texts in (TEXTS[:1], TEXTS[:3], [" ".join(TEXTS * 4), *TEXTS, "good"]):
        inputs = tokenizer(texts, truncation=True, max_length=64, padding=True, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**{name: inputs[name] for name in found["inputs"]}).logits.numpy()
        assert logits(texts) == pytest.approx(expected, abs=1e-5)


def test_a_model_that_says_something_else_is_not_published(tmp_path: Path, tiny_model: Path) -> None:
    model, tokenizer = saved("bert", tmp_path, tiny_model)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.classifier.bias[1] += 0.5  # the trainer's model is no longer the one that was saved
    with pytest.raises(
        onnx_export.ExportFailed, match="^its logits differ from the trainer's by 5.0e-01, more than 0.0001$"
    ):
        onnx_export.export(tmp_path, model, tokenizer, TEXTS, is_pair=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_job_leaves_it_beside_the_weights(ready_job: Job) -> None:
    code, log = ready_job.run("--epochs=2", "--learning_rate=0.01", "--precision=fp32", "--export=onnx")
    assert code == 0, log
    manifest = json.loads((ready_job.base / "model" / "training_manifest.json").read_text())
    assert manifest["onnx"]["largest_difference"] <= 1e-4
    assert problems_of_job(ready_job.base) == []
    lines = (ready_job.base / "input" / "data" / "train" / "reviews.tsv").read_text().splitlines()
    logits = runtime(ready_job.base / "model")
    with (ready_job.base / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            [scores] = logits([lines[int(row["row"].rpartition(" ")[2]) - 1].partition("\t")[0]])
            odds = math.log(float(row["probability_positive"]) / float(row["probability_negative"]))
            assert scores[1] - scores[0] == pytest.approx(odds, abs=1e-5)


def test_what_cannot_be_exported_costs_the_model_nothing(ready_job: Job, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import torch.onnx\n\n\ndef export(*arguments, **options):\n    raise RuntimeError('no operator for it')\n\n\n"
        "torch.onnx.export = export\n"
    )
    ready_job.environment["PYTHONPATH"] = f"{broken}:{Path(onnx_export.__file__).parents[2]}"
    code, log = ready_job.run("--epochs=1", "--precision=fp32", "--export=onnx")
    assert code == 0, log
    assert "ERROR: model.onnx was not saved: RuntimeError: no operator for it; the model itself was" in log
    manifest = json.loads((ready_job.base / "model" / "training_manifest.json").read_text())
    assert manifest["onnx"] == {"error": "RuntimeError: no operator for it"}
    assert problems_of_job(ready_job.base) == []
    assert transformers.AutoModelForSequenceClassification.from_pretrained(ready_job.base / "model")
    assert not (ready_job.base / "model" / "model.onnx").exists()
    assert (ready_job.base / "output" / "data" / "report.html").exists()
