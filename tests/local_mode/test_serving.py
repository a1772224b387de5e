"""The image behind version 2 of the SageMaker SDK in local mode: Model.deploy and Transformer, with the real engine."""

from __future__ import annotations

import json
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.local import engine
from launcher.sdk import local_mode
from support import containers
from support.containers import IMAGE, QUICK

# isort: split
# launcher.sdk configures the SDK before its first import.
from sagemaker.deserializers import JSONDeserializer
from sagemaker.local.local_session import LocalSession
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

# The thread of the SDK that follows a container raises when the container is removed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

NAME = f"test-serving-{os.getpid()}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model.tar.gz of a completed job, alone in its folder: local mode unpacks it there."""
    for folder in ("tiny", "job", "served"):
        (tmp_path / folder).mkdir()
    containers.write_tiny_model(tmp_path / "tiny")
    job = containers.ready_job(tmp_path / "job", tmp_path / "tiny", QUICK | {"epochs": "4", "learning_rate": "0.01"})
    with containers.running(job):
        assert job.wait() == {"algo-1": 0}, job.log()
    archive = tmp_path / "served" / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in job.folder("algo-1", "model").iterdir():
            tar.add(path, path.name)
    return archive


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSession]:
    """A session on a port of its own, whose containers and files are removed at the end."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", engine.compose_project(NAME))
    root = tmp_path / "root"
    root.mkdir()
    with engine.compose_for_sdk() as variables:
        for key, value in variables.items():
            monkeypatch.setenv(key, value)
        made = local_mode.session(root, {engine.JOB_LABEL: NAME})
        config = local_mode.settings(root, {engine.JOB_LABEL: NAME})
        config["local"]["serving_port"] = free_port()
        made.config = config
        yield made
        engine.remove_job(NAME)
        engine.delete_tree(root, IMAGE)
        engine.delete_tree(tmp_path / "served", IMAGE)


def test_an_endpoint_and_a_transform_job_answer_alike(session: LocalSession, model: Path, tmp_path: Path) -> None:
    served = Model(
        IMAGE, f"file://{model}", local_mode.LOCAL_ROLE, Predictor, sagemaker_session=session,
        env={"SERVE_BAD_RECORDS": "mark", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    predictor = served.deploy(1, "local", serializer=JSONSerializer(), deserializer=JSONDeserializer())
    texts = ["good great fine", "bad awful poor"]
    answers = predictor.predict({"inputs": texts})
    assert [answer["label"] for answer in answers] == ["positive", "negative"]
    assert predictor.predict({"inputs": texts[0], "parameters": {"top_k": None}})[0] == pytest.approx(answers[0])
    predictor.delete_endpoint()
    engine.remove_job(NAME)

    data, scores = tmp_path / "data", tmp_path / "scores"
    for folder in (data, scores):
        folder.mkdir()
    lines = [json.dumps({"inputs": texts[0]}), "{", json.dumps(texts[1])]
    (data / "new.jsonl").write_text("".join(f"{line}\n" for line in lines))
    transformer = served.transformer(
        1, "local", output_path=f"file://{scores}", assemble_with="Line", accept="application/jsonlines",
        strategy="MultiRecord",
    )  # fmt: skip
    transformer.transform(
        f"file://{data}", content_type="application/jsonlines", split_type="Line", logs=False
    )  # its logs are those of the real CloudWatch
    found = [json.loads(line) for line in (scores / "new.jsonl.out").read_text().splitlines()]
    assert [found[0], found[2]] == [pytest.approx(answer) for answer in answers]
    assert found[1] == {"error": "record 2 is not JSON"}
