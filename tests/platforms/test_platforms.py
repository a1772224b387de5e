"""The image on processors that this machine only emulates: arm64, and x86 without AVX2.

`make test-platforms` builds the arm64 image. Emulation is slow: each job takes minutes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docker
from support import containers
from support.containers import QUICK, ContainerJob

#: Seconds for a job of 64 rows by emulation.
PATIENCE = 1_800.0

ARM64_IMAGE = os.environ.get("TEST_ARM64_IMAGE", "sagemaker-text-classification-arm64:local")

#: A processor without AVX2. (On older ones, such as Nehalem, numpy itself crashes in the emulator.)
OLD_CPU = "EPYC,-avx2"

ONE_EPOCH = QUICK | {"epochs": "1"}


@pytest.fixture(autouse=True, scope="module")
def no_leftovers() -> Iterator[None]:
    containers.remove_leftovers()
    yield
    containers.remove_leftovers()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    containers.write_tiny_model(folder)
    return folder


@pytest.fixture
def trains(tmp_path: Path, tiny_model: Path) -> Callable[..., ContainerJob]:
    """A function that trains on 64 rows to the end, and says so."""

    def train(**options: Any) -> ContainerJob:
        job = containers.ready_job(tmp_path, tiny_model, ONE_EPOCH)
        with containers.running(job, **options):
            codes = job.wait(PATIENCE)
            assert codes == {"algo-1": 0}, job.log()
            assert "WARNING" in job.log() and "slower" in job.log(), job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["status"] == "completed"
        return job

    return train


def test_the_arm64_image_is_one() -> None:
    assert docker.from_env().images.get(ARM64_IMAGE).attrs["Architecture"] == "arm64"


def test_arm64_checks_data(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"row {n},{n % 2}\n" for n in range(20)))
    log = docker.from_env().containers.run(
        ARM64_IMAGE, ["check", "/data/rows.csv"], platform="linux/arm64", network_mode="none", remove=True,
        volumes={str(tmp_path): {"bind": "/data", "mode": "ro"}}, labels={containers.LABEL: ""},
    ).decode()  # fmt: skip
    assert "class counts:\n  0: train 9 (50.0%), validation 1 (50.0%)" in log


def test_arm64_trains(trains: Callable[..., ContainerJob]) -> None:
    trains(image=ARM64_IMAGE, platform="linux/arm64")


def test_x86_without_avx2_trains(trains: Callable[..., ContainerJob]) -> None:
    emulator = shutil.which("qemu-x86_64-static")
    assert emulator, "install qemu-user-static"
    # The emulator runs one process and none that it starts: the training script itself.
    script = [
        "/opt/venv/bin/python",
        "/opt/text-classifier/train.py",
        *(f"--{name}={value}" for name, value in ONE_EPOCH.items()),
    ]
    trains(
        command=[f"{containers.INSIDE}/emulator", "-cpu", OLD_CPU, *script],
        mounts={"emulator": emulator},
    )
