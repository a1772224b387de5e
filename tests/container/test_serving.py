"""The model works offline in transformers' pipeline and in Hugging Face's SageMaker inference containers."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import ROOT
from support.containers import IMAGE

PACKAGES = ROOT / "build" / "serving" / "packages"

#: Prints the pipeline's output for the texts on stdin, with the transformers that comes first on the path.
PIPELINE = """
import json, sys, transformers
classify = transformers.pipeline("text-classification", model="/model", truncation=True, max_length=128)
answers = classify(json.load(sys.stdin), top_k=None, function_to_apply="none")
json.dump([transformers.__version__, answers], sys.stdout)
"""


def run(trained: Path, command: list[str], sent: Any, *, packages: Path | None = None) -> Any:
    """The output of a Python program in the image, given JSON. It sees the unpacked model and no module of code/."""
    mounts = [f"--volume={trained}:/model:ro", f"--volume={ROOT / 'tests'}:/tests:ro"]
    if packages:
        assert (packages / "transformers").is_dir(), f"{packages} is not there; make test-container installs it"
        mounts += [f"--volume={packages}:/packages:ro"]
    environment = ["--env=HF_HUB_OFFLINE=1", "--env=PYTHONPATH=/packages"]
    done = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--network=none", *environment, *mounts, IMAGE, "python", *command],
        input=json.dumps(sent), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def measured(trained: Path) -> dict[str, float]:
    """The validation texts, and the trainer's logit of `positive` minus that of `negative` for each."""
    lines = (trained.parents[1] / "channels" / "train" / "reviews.tsv").read_text().splitlines()
    margins = {}
    with (trained.parent / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            text = lines[int(row["row"].rpartition(" ")[2]) - 1].partition("\t")[0]
            odds = float(row["probability_positive"]) / float(row["probability_negative"])
            margins[text] = math.log(odds)
    assert len(margins) > 3
    return margins


def margin(answer: list[dict[str, Any]]) -> float:
    logits = {entry["label"]: entry["score"] for entry in answer}
    return float(logits["positive"] - logits["negative"])


@pytest.mark.parametrize(("packages", "major"), [(None, "5"), (PACKAGES, "4")])
def test_a_pipeline_gives_the_logits_of_the_trainer(
    trained: Path, measured: dict[str, float], packages: Path | None, major: str
) -> None:
    """With the image's transformers, and with the previous major version, which inference containers still have."""
    version, answers = run(trained, ["-c", PIPELINE], list(measured), packages=packages)
    assert version.partition(".")[0] == major
    assert [margin(answer) for answer in answers] == pytest.approx(list(measured.values()), abs=1e-5)


def test_the_sagemaker_toolkit_serves_it(trained: Path, measured: dict[str, float]) -> None:
    parameters = {"top_k": None, "function_to_apply": "none", "truncation": True, "max_length": 128}
    requests = [{"inputs": "good great fine"}, {"inputs": list(measured), "parameters": parameters}]
    plain, logits = run(trained, ["/tests/support/serve.py", "/model"], requests, packages=PACKAGES)
    assert [answer["label"] for answer in plain] == ["positive"]
    assert [margin(answer) for answer in logits] == pytest.approx(list(measured.values()), abs=1e-5)
