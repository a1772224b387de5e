"""Fixtures: jobs in containers of the built image, with a tiny model that the image itself writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support import containers
from support.containers import QUICK, ContainerJob


def pytest_sessionstart(session: pytest.Session) -> None:
    _remove_leftovers(session)


def pytest_sessionfinish(session: pytest.Session) -> None:
    _remove_leftovers(session)


def _remove_leftovers(session: pytest.Session) -> None:
    """Once for all test processes: the running containers of one process are not leftovers."""
    if not hasattr(session.config, "workerinput"):
        containers.remove_leftovers()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    containers.write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The model directory of a completed job; its other output is in ../output/data."""
    hyperparameters = QUICK | {"epochs": "4", "learning_rate": "0.01"}
    job = containers.ready_job(tmp_path_factory.mktemp("trained"), tiny_model, hyperparameters)
    with containers.running(job):
        assert job.wait() == {"algo-1": 0}, job.log()
    return job.folder("algo-1", "model")


@pytest.fixture
def ready_job(tmp_path: Path, tiny_model: Path) -> Callable[..., ContainerJob]:
    """A function that makes a new job that succeeds."""
    made = []

    def make(hyperparameters: Mapping[str, str] = QUICK, host_count: int = 1) -> ContainerJob:
        made.append(tmp_path / f"job-{len(made)}")
        made[-1].mkdir()
        return containers.ready_job(made[-1], tiny_model, hyperparameters, host_count)

    return make
