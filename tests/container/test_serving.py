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
from support.endpoint import endpoint

PACKAGES = ROOT / "build" / "serving" / "packages"

#: Prints the pipeline's output for the texts on stdin, with the transformers that comes first on the path.
PIPELINE = """
import json, sys, transformers
classify = transformers.pipeline("text-classification", model="/model", truncation=True, max_length=128)
answers = classify(json.load(sys.stdin), top_k=None, function_to_apply="none")
json.dump([transformers.__version__, answers], sys.stdout)
"""


#: What the toolkit and `serve` answer alike, refusals included.
ALIKE: list[Any] = [
    {"inputs": "good great fine"},
    {"inputs": ""},
    {"inputs": ["good"]},
    {"inputs": ["good", "bad awful"]},
    {"inputs": []},
    {"inputs": {"text": "good"}},
    {"inputs": [{"text": "good"}, {"text": "bad"}]},
    {"inputs": "good", "parameters": None},
    {"inputs": "good", "parameters": {}},
    {"inputs": "good", "options": {"wait_for_model": True}},
    *({"inputs": "good", "parameters": {"top_k": top_k}} for top_k in (None, 1, 9)),
    *({"inputs": ["good", "bad"], "parameters": {"top_k": top_k}} for top_k in (None, 1, 9)),
    *({"inputs": "good", "parameters": {"function_to_apply": name}} for name in ("softmax", "sigmoid", "none")),
    {"inputs": "good " * 300, "parameters": {"truncation": True}},
    {"inputs": "good bad good", "parameters": {"truncation": True, "max_length": 4}},
    {"inputs": ["good", "bad"], "parameters": {"padding": True, "batch_size": 2}},
    # Refused by both, each in its own words:
    {"inputs": 5},
    {"inputs": ["good", 5]},
    {"inputs": None},
    {},
    {"inputs": [["good", "bad"]]},
    {"inputs": "good", "parameters": {"topk": 1}},
    {"inputs": "good", "parameters": {"function_to_apply": "tanh"}},
]  # fmt: skip
#: What they answer differently, with the statuses of the toolkit and of `serve`; listed in docs/serving.md.
DIFFERENT: list[tuple[Any, int, int]] = [
    ({"inputs": "good " * 300}, 400, 200),
    ("good", 400, 200),
    (["good", "bad"], 400, 200),
    ({"text": "good"}, 200, 400),
    ({"inputs": {"text": "good", "text_pair": "bad"}}, 200, 400),
    ({"inputs": "good", "parameters": {"top_k": 0}}, 200, 400),
    ({"inputs": "good", "parameters": {"return_all_scores": True}}, 200, 200),
]


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
    (_, plain), (_, logits) = run(trained, ["/tests/support/serve.py", "/model"], requests, packages=PACKAGES)
    assert [answer["label"] for answer in plain] == ["positive"]
    assert [margin(answer) for answer in logits] == pytest.approx(list(measured.values()), abs=1e-5)


def test_the_toolkit_and_serve_answer_alike(trained: Path) -> None:
    requests = [*ALIKE, *(body for body, _, _ in DIFFERENT)]
    theirs = run(trained, ["/tests/support/serve.py", "/model"], requests, packages=PACKAGES)
    with endpoint(trained) as server:
        server.wait_until_ready()
        ours = [(status, json.loads(body)) for status, body in map(server.respond, map(encoded, requests))]
    for body, (their_status, their_answer), (status, answer) in zip(ALIKE, theirs, ours, strict=False):
        assert their_status == status, body
        if status == 200:
            assert answer == about(their_answer), body
    statuses = [(they, we) for (they, _), (we, _) in zip(theirs, ours, strict=True)]
    assert statuses[len(ALIKE) :] == [(they, we) for _, they, we in DIFFERENT]
    [all_scores], flat = theirs[-1][1], ours[-1][1]
    assert flat == about(sorted(all_scores, key=lambda entry: -entry["score"]))


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def about(answer: Any) -> Any:
    """What is equal to all answers with these labels and about these scores."""
    if isinstance(answer, list):
        return [about(each) for each in answer]
    return {"label": answer["label"], "score": pytest.approx(answer["score"], abs=1e-5)}
