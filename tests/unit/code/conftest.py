"""Jobs for the tests of code/, with a model small enough to train in a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from support import ROOT
from support.jobs import Job, easy_rows, table
from support.tiny_model import write_tiny_model

# The same examples in each run, so that a commit that passed passes again; EXAMPLES=2000 looks for new ones.
settings.register_profile("repeatable", derandomize="EXAMPLES" not in os.environ)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def code_is_on_the_path() -> None:
    """Of the processes that tests start: as in the image."""
    os.environ.setdefault("PYTHONPATH", str(ROOT / "code"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """On models this small threads only wait for one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two small layers with random weights, saved as people save models."""
    folder = tmp_path_factory.mktemp("tiny-model")
    write_tiny_model(folder)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job without any channel."""
    return Job(tmp_path)


@pytest.fixture
def ready_job(job: Job, tiny_model: Path) -> Job:
    """A job that would succeed: 64 easy rows and the tiny model."""
    job.write("train", "reviews.tsv", table(easy_rows(64)))
    (job.base / "input" / "data" / "model").symlink_to(tiny_model)
    return job


@pytest.fixture
def channel(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file into a `train` channel and get the channel's folder."""

    def write(name: str, content: str | bytes) -> Path:
        return Job(tmp_path).write("train", name, content).parent

    return write
