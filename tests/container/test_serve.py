"""`docker run IMAGE serve` with a model that the image has trained, as SageMaker and serverless endpoints start it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import docker
from support.containers import IMAGE
from support.endpoint import endpoint

#: A serverless endpoint: another user, a read-only root, no /dev/shm, few rights.
SERVERLESS = {
    "user": "1234:1234", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "", "/dev/shm": "size=4k,ro"}, "mem_limit": "1g",
}  # fmt: skip


def test_it_answers_on_a_serverless_endpoint_and_writes_nothing(trained: Path) -> None:
    with endpoint(trained, **SERVERLESS) as served:
        served.wait_until_ready()
        (answer,) = json.loads(served.send("/invocations", b'{"inputs": "good great fine"}'))
        assert answer["label"] == "positive" and answer["score"] > 0.5
        lines = served.send("/invocations", b"good great\nbad awful\n", "text/plain").split(b"\n")
        assert [json.loads(line)["label"] for line in lines] == ["positive", "negative"]
        assert served.send("/invocations", b"good\n", "text/csv").startswith(b"positive,")
        assert json.loads(served.send("/execution-parameters"))["MaxPayloadInMB"] == 6
        assert not served.container.diff()
        assert "Traceback" not in served.log() and "WARNING" not in served.log()


def test_the_logits_are_those_of_the_trainer(trained: Path) -> None:
    lines = (trained.parents[1] / "channels" / "train" / "reviews.tsv").read_text().splitlines()
    with (trained.parent / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        measured = list(csv.DictReader(file))
    texts = [lines[int(row["row"].rpartition(" ")[2]) - 1].partition("\t")[0] for row in measured]
    with endpoint(trained) as served:
        served.wait_until_ready()
        body = json.dumps({"inputs": texts, "parameters": {"top_k": None}}).encode()
        for row, answer in zip(measured, json.loads(served.send("/invocations", body)), strict=True):
            for entry in answer:
                assert entry["score"] == pytest.approx(float(row[f"probability_{entry['label']}"]), abs=1e-5)


def test_a_multi_container_endpoint_chooses_the_port(trained: Path) -> None:
    label = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"
    assert docker.from_env().images.get(IMAGE).labels[label] == "true"
    with endpoint(trained, 8085, environment={"SAGEMAKER_BIND_TO_PORT": "8085"}) as served:
        served.wait_until_ready()


def test_sigterm_under_load_ends_in_order(trained: Path) -> None:
    failures: list[Exception] = []
    stopping = threading.Event()

    def client() -> None:
        while not stopping.is_set():
            try:
                served.send("/invocations", b'"good"')
            except Exception as error:
                failures.append(error)

    with endpoint(trained) as served:
        served.wait_until_ready()
        clients = [threading.Thread(target=client) for _ in range(8)]
        for each in clients:
            each.start()
        time.sleep(0.5)
        served.container.kill(signal.SIGTERM)
        time.sleep(1.0)
        stopping.set()
        for each in clients:
            each.join()
        assert served.container.wait(timeout=15)["StatusCode"] == 0, served.log()
        assert failures == []


def test_a_signal_while_it_starts_ends_it(trained: Path) -> None:
    for delay in (0.05, 0.3, 1.0):
        with endpoint(trained) as served:
            time.sleep(delay)
            served.container.kill(signal.SIGTERM)
            assert served.container.wait(timeout=10)["StatusCode"] == 0, served.log()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Your settings: /opt/ml/model has no model; mount the folder that model.tar.gz was unpacked to\n"),
        (
            ["--read-only"],
            "The platform: no temporary folder can be written to: each is read-only or full; mount one, as `docker run "
            "--read-only --tmpfs /tmp` does, or set TMPDIR to another\n",
        ),
    ],
)
def test_a_container_that_cannot_serve_says_why_in_one_sentence(options: list[str], sentence: str) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", *options, IMAGE, "serve"], capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, sentence)
