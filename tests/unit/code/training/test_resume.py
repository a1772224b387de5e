"""Jobs that are killed and started again, in processes of their own."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from support.jobs import Job, easy_rows, table, warnings_in
from text_classifier.contract.errors import PlatformError
from text_classifier.training.checkpoint import Checkpoints, Content
from text_classifier.training.resume import Saver

OPTIONS = ("--epochs=3", "--learning_rate=0.01", "--train_batch_size=8", "--precision=fp32", "--checkpoint_seconds=0")

#: With all that changes the loss, the optimizer and its rates, and with several windows of most texts.
LEARNING = (
    *OPTIONS, "--freeze_layers=1", "--layerwise_lr_decay=0.8", "--lr_scheduler=cosine", "--label_smoothing=0.1",
    "--class_weights=effective", "--long_texts=mean", "--max_sequence_length=6", "--window_stride=1",
)  # fmt: skip


@pytest.fixture
def dropout_job(ready_job: Job) -> Job:
    """A job whose every step depends on the random state."""
    model = ready_job.base / "input" / "data" / "model"
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    model.unlink()
    config = json.loads(files["config.json"])
    files["config.json"] = json.dumps(
        config | {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
    ).encode()
    for name, data in files.items():
        ready_job.write("model", name, data)
    ready_job.write("train", "reviews.tsv", table(easy_rows(203)))
    return ready_job


def weights(job: Job) -> str:
    return hashlib.sha256((job.base / "model" / "model.safetensors").read_bytes()).hexdigest()


def steps(job: Job) -> list[int]:
    folder = job.base / "checkpoints"
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if path.suffix == "")


def kill_after(
    process: subprocess.Popen[str], line_start: str, number: int, is_ready: Callable[[], bool] = lambda: True
) -> str:
    """Kill the process at the first log line from the one on that starts with `line_start` at which `is_ready`; returns
    the log."""
    assert process.stdout is not None
    log, is_near = "", False
    for line in process.stdout:
        log += line
        is_near = is_near or line.startswith(line_start)
        if is_near and is_ready():
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=120)
    return log + rest


def test_killed_three_times_it_ends_with_the_weights_of_the_uninterrupted_run(dropout_job: Job) -> None:
    code, log = dropout_job.run(*LEARNING)
    assert code == 0, log
    expected, metrics = weights(dropout_job), dropout_job.metrics
    assert len(metrics["loss_curve"]["steps"]) == metrics["steps"] == 138
    dropout_job.clear()

    reached = 0
    for line, number in (("step 7 ", signal.SIGKILL), ("step 59 ", signal.SIGTERM), ("epoch=2;", signal.SIGKILL)):
        process = dropout_job.start(*LEARNING, "--log_seconds=0")
        before = reached
        # Checkpoints are written aside, and steps this small may be faster.
        log = kill_after(process, line, number, lambda: max(steps(dropout_job), default=0) > before)  # noqa: B023
        assert max(steps(dropout_job)) > reached, log
        reached = max(steps(dropout_job))
        assert ("Resuming from the checkpoint" in log) == (line != "step 7 ")
    code, log = dropout_job.run(*LEARNING)
    assert code == 0, log
    assert f"Resuming from the checkpoint of step {reached}" in log
    assert weights(dropout_job) == expected
    assert dropout_job.metrics | {"throughput": None} == metrics | {"throughput": None}  # that is of one run alone


def test_kills_at_random_moments_lose_nothing(dropout_job: Job) -> None:
    options = (*OPTIONS, "--epochs=20")
    chance = random.Random(11)
    for _ in range(3):
        process = dropout_job.start(*options)
        time.sleep(chance.uniform(2, 9))
        process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        log, _ = process.communicate(timeout=60)
        assert "Traceback" not in log, log
        if process.returncode == 0:
            # Where the machine is fast the job may have ended before the signal came.
            assert any(end in log for end in ("Stopped before", "(stopped after step", "(completed after step")), log
    code, log = dropout_job.run(*options)
    assert code == 0, log
    interrupted = weights(dropout_job)
    whole = Job(dropout_job.base / "whole")
    (whole.base / "input").mkdir(parents=True)
    (whole.base / "input" / "data").symlink_to(dropout_job.base / "input" / "data")
    code, log = whole.run(*options)
    assert code == 0, log
    assert weights(whole) == interrupted


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("--learning_rate=0.02", "learning_rate=0.01, this one has 0.02"),
        ("--seed=7", "seed=42, this one has 7"),
        ("--train_batch_size=2", "train_batch_size * processes=8, this one has 2"),
        ("--max_data_rows=100", "max_data_rows=0, this one has 100"),
    ],
)
def test_a_setting_that_changes_the_result_refuses_to_resume(ready_job: Job, change: str, difference: str) -> None:
    assert ready_job.run(*OPTIONS, "--epochs=1")[0] == 0
    code, log = ready_job.run(*OPTIONS, "--epochs=1", change)
    assert code == 1, log
    assert difference in ready_job.failure
    assert "use another checkpoint folder, or the previous settings" in ready_job.failure


@pytest.mark.parametrize("rows", [66, 640])
def test_other_data_refuses_to_resume(ready_job: Job, rows: int) -> None:
    """Also where no step of the earlier job is one of this job."""
    assert ready_job.run(*OPTIONS, "--epochs=1")[0] == 0
    ready_job.write("train", "reviews.tsv", table(easy_rows(rows)))
    code, _ = ready_job.run(*OPTIONS, "--epochs=1")
    assert code == 1
    assert "are from a job with train rows=" in ready_job.failure


def test_a_job_with_nothing_left_to_do_reports_everything_but_throughput(ready_job: Job) -> None:
    assert ready_job.run(*OPTIONS, "--epochs=1")[0] == 0
    metrics = ready_job.metrics
    code, log = ready_job.run(*OPTIONS, "--epochs=1")
    assert code == 0, log
    assert ready_job.metrics == metrics | {"throughput": {}}
    assert "Traceback" not in log and "report)" in log


def test_more_epochs_resume(ready_job: Job) -> None:
    assert ready_job.run(*OPTIONS, "--epochs=1")[0] == 0
    code, log = ready_job.run(*OPTIONS, "--epochs=2")
    assert code == 0, log
    assert "epoch=2;" in log
    assert "epoch=1;" not in log


def test_a_job_resumes_with_other_operations_and_says_that_the_weights_differ(ready_job: Job) -> None:
    code, log = ready_job.run(*OPTIONS, "--epochs=1")
    assert code == 0 and warnings_in(log) == [], log
    before = json.loads((ready_job.base / "model" / "training_manifest.json").read_text())["operations"]
    ready_job.environment["TEXT_OPS"] = "reference"
    code, log = ready_job.run(*OPTIONS, "--epochs=2")
    assert code == 0 and "epoch=2;" in log, log
    (warning,) = warnings_in(log)
    native = [f"{name} ({how}, now torch)" for name, how in before.items() if how != "torch"]
    assert native and warning == (
        "WARNING: operations are computed in another way than until step 8, so the weights will not be bit-identical "
        f"to those of an uninterrupted run: {', '.join(native)}"
    )
    assert set(ready_job.metrics["operations"].values()) == {"torch"}


def test_missing_room_for_checkpoints_is_reported_before_the_first_step(ready_job: Job) -> None:
    code, log = ready_job.run(*OPTIONS, "--checkpoint_dir=/proc")
    assert code == 1, log
    assert "epoch=1" not in log
    assert ready_job.failure.startswith("The platform: /proc has 0.00 GB free")


def saver(folder: Path) -> Saver:
    cluster: Any = SimpleNamespace(is_rank_zero=True)
    return Saver(Checkpoints(folder), 0.0, cluster, {"train_batch_size * processes": 8, "evaluations_per_epoch": 1}, 8)


@pytest.mark.parametrize(("there", "fits"), [(0, False), (1, False), (2, True), (3, True)])
def test_checkpoints_that_are_replaced_need_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, fits: bool
) -> None:
    """A spot job starts again on a disk that has its own checkpoints: at most three times 4 MB for weights of 1 MB."""
    for step in range(there):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "model.safetensors").write_bytes(bytes(4_000_000))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4_500_000))
    training: Any = SimpleNamespace(model=torch.nn.Linear(1000, 250, bias=False))
    if fits:
        saver(tmp_path).require_space(training)
    else:
        with pytest.raises(PlatformError, match="has 0.00 GB free, and the checkpoints need 0.01 GB; give the job"):
            saver(tmp_path).require_space(training)


def write(own: Saver, step: int, content: Content) -> None:
    own._write(step, content)
    own.finish()


def test_the_reason_why_checkpoints_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = saver(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Checkpoints, "write", refuse)
    for step in (1, 2):
        write(own, step, Content({}, {}))
    with pytest.raises(PlatformError) as refused:
        write(own, 3, Content({}, {}))
    assert str(refused.value) == (
        f"3 checkpoints in a row could not be written to {tmp_path} ([Errno 30] Read-only file system); give the job a "
        "larger volume, or a checkpoint folder that it can write to"
    )
    assert capsys.readouterr().out.count("WARNING: the checkpoint of step ") == 3


def test_a_bug_in_writing_a_checkpoint_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        write(saver(tmp_path), 1, Content({}, {"value": torch.ones(1)}))


def test_trials_that_share_a_checkpoint_folder_resume_only_from_their_own(ready_job: Job) -> None:
    """As in a tuning job on spot instances: a trial may find the checkpoints of other trials."""
    config = ready_job.base / "input" / "config" / "hyperparameters.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"_tuning_objective_metric": "f1_macro"}')
    for trial, rate in (("search-001-aa", "0.01"), ("search-002-bb", "0.02")):
        ready_job.environment["TRAINING_JOB_NAME"] = trial
        code, log = ready_job.run(*OPTIONS, "--epochs=1", f"--learning_rate={rate}")
        assert code == 0, log
        assert "Resuming from" not in log
    ready_job.environment["TRAINING_JOB_NAME"] = "search-001-aa"
    code, log = ready_job.run(*OPTIONS, "--epochs=2")
    assert code == 0, log
    assert "Resuming from" in log
    assert {path.name for path in (ready_job.base / "checkpoints").iterdir()} == {"search-001-aa", "search-002-bb"}
