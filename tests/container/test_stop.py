"""A stop signal at any time ends the job cleanly, soon, and with exit code 0."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.containers import ENDLESS, QUICK, WHOLE_LIFE, ContainerJob, changed_module, running, stop_after

Make = Callable[..., ContainerJob]

SIGNALS = 10


@pytest.mark.parametrize("host_count", [1, 2])
def test_a_stop_signal_at_any_time_ends_the_run_in_order(ready_job: Make, host_count: int) -> None:
    """One signal at a random time within each tenth of the run."""
    with running(ready_job(WHOLE_LIFE, host_count)) as whole:
        assert set(whole.wait().values()) == {0}, whole.log()
        life = whole.life_seconds()
    chance = random.Random(host_count)
    delays = [life * (tenth + chance.random()) / SIGNALS for tenth in range(SIGNALS)]
    ends = [stop_after(ready_job(WHOLE_LIFE, host_count), delay) for delay in delays]
    assert [end for end in ends if end.complaint] == []
    assert ends[0].state == "no model"


def test_a_signal_before_anything_listens_is_not_lost(ready_job: Make) -> None:
    ends = [stop_after(ready_job(ENDLESS), delay) for delay in (0.02, 0.1, 0.3)]
    assert [(end.codes, end.state) for end in ends] == [((0,), "no model")] * 3, [end.complaint for end in ends]
    assert min(end.seconds for end in ends) < 2


def test_a_signal_in_training_saves_the_model_and_a_second_one_changes_nothing(ready_job: Make) -> None:
    with running(ready_job(ENDLESS)) as job:
        job.wait_for("step 20 ")
        for _ in range(3):
            job.stop_signal()
            time.sleep(0.05)
        assert job.wait() == {"algo-1": 0}, job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["status"] == "stopped"
        assert f"(stopped after step {manifest['steps']})" in job.log()


def test_a_signal_in_evaluation_does_not_wait_for_its_end(ready_job: Make) -> None:
    job = ready_job(ENDLESS | {"valid_batch_size": "1"})
    job.channel("validation", "reviews.tsv", "text\tlabel\n" + "good\tpositive\nbad\tnegative\n" * 100_000)
    with running(job):
        job.wait_for("step 8 ")
        time.sleep(0.3)
        sent = time.monotonic()
        job.stop_signal()
        assert job.wait() == {"algo-1": 0}, job.log()
        assert time.monotonic() - sent < 15
        manifest = job.manifest()
        assert manifest is not None and (manifest["status"], manifest["steps"]) == ("stopped", 8)


def test_a_signal_while_the_model_is_saved_does_not_harm_it(ready_job: Make, tmp_path: Path) -> None:
    line = "tokenizer.save_pretrained(aside)"
    slow = changed_module(tmp_path, "results/artifact.py", replace=(line, f"{line}; import time; time.sleep(2)"))
    with running(ready_job(QUICK | {"epochs": "1"}), mounts=slow) as job:
        aside = job.folder("algo-1", "model") / ".writing"
        job.wait_until(lambda: (aside / "tokenizer.json").exists(), "the model")
        job.stop_signal()
        assert job.wait() == {"algo-1": 0}, job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["status"] == "completed"


def test_a_signal_to_one_host_stops_all_at_the_same_step(ready_job: Make) -> None:
    with running(ready_job(ENDLESS, host_count=2)) as job:
        job.wait_for("step 20 ")
        job.stop_signal("algo-2")
        assert job.wait() == {"algo-1": 0, "algo-2": 0}, job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["status"] == "stopped"
        assert f"rank 1 ended after step {manifest['steps']}\n" in job.log("algo-2")
        assert job.manifest("algo-2") is None
