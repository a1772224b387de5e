"""A container with little of everything trains; one with too little of something ends with a sentence and its limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from docker.types import Ulimit

from support.containers import QUICK, ContainerJob, running

Make = Callable[..., ContainerJob]

LITTLE = {
    "pids_limit": 20, "ulimits": [Ulimit(name="nofile", soft=20, hard=20)], "nano_cpus": 500_000_000,
    "shm_size": "64k", "tmpfs": {"/tmp": "size=1m"}, "read_only": True, "user": "12345:12345", "mem_limit": "900m",
    "memswap_limit": "900m",
    "environment": {"HOME": "/nowhere", "TZ": "No/Where", "LC_ALL": "tr_TR.UTF-8", "LANG": "xx_YY.none"},
}  # fmt: skip


def test_little_of_everything_is_enough(ready_job: Make) -> None:
    job = ready_job(QUICK | {"epochs": "1"})
    (job.base / "checkpoints").mkdir()
    (job.base / "checkpoints").chmod(0o777)
    with running(job, mounts={"checkpoints": job.base / "checkpoints"}, **LITTLE):
        assert job.wait() == {"algo-1": 0}, job.log()
        assert "Traceback" not in job.log()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"pids_limit": 10, "nano_cpus": 1_000_000_000},
            "The platform: the container may have no more than 10 processes and threads, and training needs 12 (8,",
        ),
        (
            {"mem_limit": "300m", "memswap_limit": "300m"},
            "The platform: the host ran out of memory, so training was killed; use an instance with more than 0.3 GB,",
        ),
    ],
)
def test_too_little_is_one_sentence_with_the_limit(ready_job: Make, options: dict[str, object], sentence: str) -> None:
    with running(ready_job(QUICK | {"epochs": "1"}), **options) as job:
        assert job.wait() == {"algo-1": 1}, job.log()
        assert job.failure().startswith(sentence)
        assert "Traceback" not in job.log()
