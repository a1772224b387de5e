"""A trial of a tuning job, started as SageMaker does, next to the checkpoints of another trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.containers import QUICK, ContainerJob, running

Make = Callable[..., ContainerJob]


def test_a_trial_writes_its_checkpoints_to_a_folder_of_its_own(ready_job: Make, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    other = checkpoints / "search-001-aa" / "step-9"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text("{}")
    for folder in (checkpoints, other.parent, other):
        folder.chmod(0o777)
    job = ready_job(QUICK | {"epochs": "1", "_tuning_objective_metric": "f1_macro"})
    environment = {"OMP_NUM_THREADS": "1", "TRAINING_JOB_NAME": "search-002-bb"}
    with running(job, mounts={"checkpoints": checkpoints}, environment=environment):
        assert job.wait() == {"algo-1": 0}, job.log()
        assert "Resuming from" not in job.log()
    assert {path.name for path in checkpoints.iterdir()} == {"search-001-aa", "search-002-bb"}
    assert [path.name for path in (checkpoints / "search-002-bb").glob("step-*")] != []
