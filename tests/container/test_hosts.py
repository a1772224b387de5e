"""Several hosts: one that fails, dies, hangs or never joins ends the job on all hosts, which name it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.containers import BREAKS, ENDLESS, QUICK, ContainerJob, changed_module, running
from support.jobs import easy_rows, table, warnings_in

Make = Callable[..., ContainerJob]


def test_a_host_that_dies_is_named_at_once(ready_job: Make) -> None:
    with running(ready_job(ENDLESS, host_count=2)) as job:
        job.wait_for("step 20 ")
        killed = time.monotonic()
        job.containers["algo-2"].kill("SIGKILL")
        assert job.wait()["algo-1"] == 1
        assert time.monotonic() - killed < 30
        assert job.failure().startswith("The platform: host algo-2 was lost: the connection was closed; look at")


def test_a_host_that_hangs_is_named_after_the_timeout(ready_job: Make) -> None:
    with running(ready_job(ENDLESS | {"collective_timeout_seconds": "5"}, host_count=2)) as job:
        job.wait_for("step 20 ")
        paused = time.monotonic()
        job.containers["algo-1"].pause()  # the leader: the other hosts cannot ask it which host is missing
        assert job.containers["algo-2"].wait(timeout=60)["StatusCode"] == 1
        assert time.monotonic() - paused < 30
        assert job.failure("algo-2").startswith("The platform: host algo-1 was lost: no answer for 5 s; look at")
        job.containers["algo-1"].unpause()
        assert job.wait() == {"algo-1": 1, "algo-2": 1}
        assert "algo-2" in job.failure("algo-1")


def test_the_reason_of_one_host_reaches_the_others(ready_job: Make, tmp_path: Path) -> None:
    broken = changed_module(
        tmp_path,
        "training/loss_tracking.py",
        append=BREAKS.format(error="torch.OutOfMemoryError('2 GiB')"),
    )
    with running(ready_job(QUICK, host_count=2), only={"algo-2": {"mounts": broken}}) as job:
        assert job.wait() == {"algo-1": 1, "algo-2": 1}, job.log()
        reason = "Your settings: the GPU ran out of memory with train_batch_size=8"
        assert job.failure("algo-2").startswith(reason)
        assert job.failure("algo-1").startswith(reason)
        assert "[reported by algo-2]" in job.failure("algo-1")


def test_a_host_that_never_comes_is_named(ready_job: Make, tmp_path: Path) -> None:
    hasty = changed_module(tmp_path, "runtime/hosts.py", replace=("START_SECONDS = 300", "START_SECONDS = 4"))
    absent = {"algo-2": {"command": ["sleep", "infinity"]}}
    job = ready_job(QUICK, host_count=2)
    with running(job, mounts=hasty, only=absent):
        assert job.containers["algo-1"].wait(timeout=90)["StatusCode"] == 1
        assert job.failure().startswith("The platform: host algo-2 did not join within 4 s; look at its log")


def test_a_network_interface_that_does_not_exist_is_replaced_with_one_warning(ready_job: Make) -> None:
    job = ready_job(QUICK | {"epochs": "1"}, host_count=2)
    job.interface = "ethwe"
    with running(job):
        assert job.wait() == {"algo-1": 0, "algo-2": 0}, job.log()
        for host in job.hosts:
            (warning,) = warnings_in(job.log(host))
            assert warning.startswith("WARNING: the network interface 'ethwe' of resourceconfig.json does not exist")
            assert "using 'eth0', the route to algo-1" in warning


def own_files(tmp_path: Path, rows: list[tuple[str, str]]) -> dict[str, Any]:
    """The options of a host whose `train` channel has a file of these rows alone."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "more.tsv").write_text(table(rows))
    return {"mounts": {"input/data/train": folder}}


def test_hosts_with_files_of_their_own_train_on_the_rows_of_all(ready_job: Make, tmp_path: Path) -> None:
    job = ready_job(QUICK | {"epochs": "1"}, host_count=2)
    job.sharded = ["train"]
    with running(job, only={"algo-2": own_files(tmp_path, [*easy_rows(20), *[("so so", "neutral")] * 4])}):
        assert job.wait() == {"algo-1": 0, "algo-2": 0}, job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["classes"] == ["negative", "neutral", "positive"]


def test_a_mistake_in_the_files_of_one_host_is_the_reason_of_all(ready_job: Make, tmp_path: Path) -> None:
    job = ready_job(QUICK, host_count=2)
    job.sharded = ["train"]
    with running(job, only={"algo-2": own_files(tmp_path, [("two", "many\tfields")])}):
        assert job.wait() == {"algo-1": 1, "algo-2": 1}, job.log()
        sentence = "Your data: train/more.tsv line 2 has 3 fields, the header has 2; fix or remove the row"
        assert job.failure("algo-2") == sentence
        assert job.failure("algo-1") == f"{sentence} [reported by algo-2]"
