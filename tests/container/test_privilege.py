"""As little privilege as there is: nothing but the outputs is written, as any user, with no capability."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from containers import ENDLESS, INSIDE, QUICK, ContainerJob, running

Make = Callable[..., ContainerJob]

SHORT = QUICK | {"epochs": "1"}
TIGHT = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "", f"{INSIDE}/checkpoints": "mode=1777"},
}
#: Somebody who is not root. Only root can give folders away; for others it is themselves, whose the folders are.
SOMEBODY = os.getuid() or 12345


@pytest.fixture
def owned_job(ready_job: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a job whose outputs are SOMEBODY's, with these permissions."""
    prepare = ContainerJob._prepare

    def make(hyperparameters: dict[str, str], mode: int) -> ContainerJob:
        def prepare_owned(job: ContainerJob, host: str) -> None:
            prepare(job, host)
            for name in ("model", "output", "output/data"):
                os.chown(job.folder(host, name), SOMEBODY, SOMEBODY)
                job.folder(host, name).chmod(mode)

        monkeypatch.setattr(ContainerJob, "_prepare", prepare_owned)
        return ready_job(hyperparameters)

    return make


def owners(folder: Path) -> set[int]:
    return {path.stat().st_uid for path in (folder, *folder.rglob("*"))}


def test_any_user_without_any_privilege_can_train(ready_job: Make) -> None:
    with running(ready_job(SHORT), user="12345:12345", **TIGHT) as job:
        assert job.wait() == {"algo-1": 0}, job.log()
        assert job.manifest() is not None
        assert "WARNING" not in job.log()
        assert not job.containers["algo-1"].diff()


def test_root_without_capabilities_trains_as_root_and_says_so_once(owned_job: Make) -> None:
    with running(owned_job(SHORT, 0o777), **TIGHT) as job:
        assert job.wait() == {"algo-1": 0}, job.log()
        sentence = f"Training runs as root, not as user {SOMEBODY}, who owns {INSIDE}/model: the container has no CAP_"
        assert job.log().count(sentence) == 1
        assert "WARNING" not in job.log()
        assert not job.containers["algo-1"].diff()


def test_training_runs_as_the_owner_of_the_model_folder(owned_job: Make) -> None:
    """And can be stopped; nothing that it leaves behind is root's."""
    with running(owned_job(ENDLESS, 0o755)) as job:
        job.wait_for("step 20 ")
        assert f"Training runs as user {SOMEBODY}, who owns {INSIDE}/model\n" in job.log()
        job.stop_signal()
        assert job.wait() == {"algo-1": 0}, job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["status"] == "stopped"
        assert "WARNING" not in job.log()
        assert owners(job.folder("algo-1", "model")) | owners(job.folder("algo-1", "output")) == {SOMEBODY}
        written = {change["Path"] for change in job.containers["algo-1"].diff()}
        assert {path for path in written if not path.startswith((f"{INSIDE}/checkpoints", "/tmp"))} <= {"/opt", INSIDE}


def test_a_failure_file_belongs_to_the_owner_too(owned_job: Make) -> None:
    with running(owned_job(SHORT | {"epocs": "3"}, 0o755)) as job:
        assert job.wait() == {"algo-1": 1}
        assert job.failure().startswith("Your settings: hyperparameter 'epocs'")
        assert owners(job.folder("algo-1", "output")) == {SOMEBODY}
