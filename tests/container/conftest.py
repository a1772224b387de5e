"""Jobs in containers of the built image, with a tiny model that the image itself makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import containers
from containers import QUICK, ContainerJob


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> Iterator[None]:
    containers.remove_leftovers()
    yield
    containers.remove_leftovers()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    containers.write_tiny_model(folder)
    return folder


@pytest.fixture
def ready_job(tmp_path: Path, tiny_model: Path) -> Callable[..., ContainerJob]:
    """Make a job that would succeed; each call makes another."""
    made = []

    def make(hyperparameters: Mapping[str, str] = QUICK, host_count: int = 1) -> ContainerJob:
        made.append(tmp_path / f"job-{len(made)}")
        made[-1].mkdir()
        return containers.ready_job(made[-1], tiny_model, hyperparameters, host_count)

    return make
