"""A user's own script through the SDK's Estimator, as in a notebook: docs/own-script.md in local mode."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from launcher import ROOT
from launcher.local import engine
from local_mode.runs import docker
from support.containers import IMAGE, write_tiny_model
from support.jobs import easy_rows, table

#: What a user writes. The label is for cleaning up; the SDK removes nothing.
FIT = """
import sys
import boto3
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession

name, image, program, source, channels, output, root, count, label = sys.argv[1:]
silent = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
session = LocalSession(boto_session=boto3.Session(region_name="eu-west-1"), sagemaker_config=silent)
session.config = {"local": {"local_code": True, "container_root": root, "container_config": {"labels": {label: name}}}}
Estimator(
    image_uri=image, role="arn:aws:iam::000000000000:role/local", instance_count=int(count), instance_type="local",
    entry_point=program, source_dir=source, output_path=f"file://{output}", hyperparameters={"epochs": 2},
    sagemaker_session=session,
).fit({name: f"file://{channels}/{name}" for name in ("train", "model")}, job_name=name)
"""

Fit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def fit(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fit]:
    """Train these scripts in local mode; the model is in tmp_path/output."""
    name = f"own-{os.getpid()}-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[-30:].strip('-')}"
    for folder in ("channels/train", "channels/model", "source", "output", "root"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "channels" / "train" / "reviews.tsv").write_text(table(easy_rows(64)))
    write_tiny_model(tmp_path / "channels" / "model")

    def run(program: str, files: Mapping[str, str], host_count: int = 1) -> subprocess.CompletedProcess[str]:
        for file, text in files.items():
            (tmp_path / "source" / file).write_text(text)
        folders = [str(tmp_path / folder) for folder in ("source", "channels", "output", "root")]
        with engine.compose_for_sdk() as variables:
            return subprocess.run(
                [sys.executable, "-c", FIT, name, IMAGE, program, *folders, str(host_count), engine.JOB_LABEL],
                cwd=ROOT, env=os.environ | {"COMPOSE_PROJECT_NAME": engine.compose_project(name), **variables},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
            )  # fmt: skip

    yield run
    engine.remove_job(name)
    engine.delete_tree(tmp_path / "root", IMAGE)


def loop() -> str:
    [text] = re.findall(r"```python\n# src/loop.py\n(.*?)```", (ROOT / "docs" / "own-script.md").read_text(), re.DOTALL)
    return text


@pytest.mark.parametrize("host_count", [1, 2])
def test_an_estimator_with_an_entry_point_trains(fit: Fit, tmp_path: Path, host_count: int) -> None:
    done = fit("loop.py", {"loop.py": loop()}, host_count)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"epoch=(\d); loss=", done.stdout) == ["1", "2"], done.stdout
    assert (tmp_path / "output" / "model.tar.gz").exists()


def test_a_failing_script_says_why(fit: Fit) -> None:
    done = fit("mine.py", {"mine.py": "import data\n", "data.py": "raise ValueError('no rows')\n"})
    # Not the exit code of `fit`: on a busy machine docker-compose 1.29 may end with 0 whatever the container's is.
    [container] = docker("ps", "--all", "--quiet", f"--filter=label={engine.JOB_LABEL}={done.args[3]}")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == ["1"], done.stdout
    assert "Your script: data.py:1 raised ValueError: no rows; the traceback is in the job's log" in done.stdout
