"""A failed job writes one actionable sentence to the failure file and exits with code 1."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.containers import BREAKS, ENDLESS, QUICK, ContainerJob, changed_module, running

Make = Callable[..., ContainerJob]


def fails(job: ContainerJob, sentence: str, **options: Any) -> str:
    """Run the job, which must fail with a matching first line in the failure file. Returns the log."""
    with running(job, **options):
        assert job.wait() == {"algo-1": 1}, job.log()
        failure = job.failure()
        first = failure.splitlines()[0] if failure else ""
        assert re.match(sentence, first), f"{failure}\n---\n{job.log()}"
        assert len(failure.encode()) <= 1024
        assert first in job.log()
        assert job.manifest() is None
        return job.log()


@pytest.mark.parametrize(
    ("hyperparameters", "sentence"),
    [
        ({"epocs": "3"}, r"Your settings: unknown hyperparameter 'epocs'; did you mean epochs\?"),
        (
            {"learning_rate": "-1"},
            "Your settings: hyperparameter learning_rate=-1 is out of range; set it to 0 or more",
        ),
        (
            {"hf_token": "hf_" + "a" * 34},
            "Your settings: hyperparameter 'hf_token' looks like a secret, and .*keep it in",
        ),
        ({"text_columns": "body"}, "Your data: train/reviews.tsv has no column 'body'; set text_columns to one of"),
        ({"label_map": "1=a;2=b"}, "Your data: train/reviews.tsv line 2 has the label 'positive', which is not one of"),
    ],
)
def test_a_users_mistake_is_told_before_the_model_loads(
    ready_job: Make, hyperparameters: Mapping[str, str], sentence: str
) -> None:
    job = ready_job(QUICK | hyperparameters)
    log = fails(job, sentence)
    assert "Traceback" not in log
    assert "a" * 34 not in log


def test_a_users_mistake_is_told_in_ten_seconds(ready_job: Make) -> None:
    with running(ready_job(QUICK | {"text_columns": "body"})) as job:
        job.wait()
        assert job.life_seconds() < 10


def test_a_missing_channel(tmp_path: Path) -> None:
    fails(ContainerJob(tmp_path, QUICK), "Your settings: the job has no channel 'train'; name the channel with")


def test_a_hub_that_cannot_be_reached(tmp_path: Path, ready_job: Make) -> None:
    job = ContainerJob(tmp_path, QUICK | {"model_name": "no/such-model"})
    job.channel("train", "reviews.tsv", "text\tlabel\n" + "good\tpositive\nbad\tnegative\n" * 20)
    fails(job, "Your settings: model_name='no/such-model' cannot be loaded from the hub: https")


def test_a_missing_configuration_file(ready_job: Make) -> None:
    fails(
        ready_job(), "The platform: .*/hyperparameters.json is missing; run the image as a SageMaker job",
        without=["input/config"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')",
            "Your settings: the GPU ran out of memory with train_batch_size=8: the model, or a single row, "
            "does not fit; use a smaller model, a smaller max_sequence_length, or an instance with more GPU memory",
        ),
        ("OSError(28, 'No space left on device')", r"The platform: the disk is full at loss_tracking.py:\d+; give the"),
        ("KeyError('x')", r"A bug in the training code: KeyError at loss_tracking.py:\d+; the traceback is in the job"),
    ],
)  # fmt: skip
def test_a_failure_in_training(ready_job: Make, tmp_path: Path, error: str, sentence: str) -> None:
    log = fails(
        ready_job(),
        sentence,
        mounts=changed_module(tmp_path, "training/loss_tracking.py", append=BREAKS.format(error=error)),
    )
    assert "Traceback" in log


def test_a_loss_that_is_not_finite_names_the_step_and_the_rows(ready_job: Make) -> None:
    job = ready_job(QUICK | {"learning_rate": "1e30", "max_grad_norm": "0"})
    fails(
        job,
        r"Your settings: the loss is (nan|inf) at step \d+, on train/reviews.tsv line \d+ and \d+ other rows; "
        r"lower learning_rate=1e\+30 \(no model is saved\)",
    )


def test_a_full_disk_while_saving(ready_job: Make) -> None:
    fails(
        ready_job(QUICK | {"epochs": "1"}), "The platform: the model cannot be written to .*; give the job a larger",
        without=["model"], tmpfs={"/opt/ml/model": "size=32k"},
    )  # fmt: skip


def test_too_little_memory(ready_job: Make) -> None:
    fails(ready_job(), "The platform: the host ran out of memory", mem_limit="250m",
          memswap_limit="250m")  # fmt: skip


def test_a_process_that_is_killed(ready_job: Make) -> None:
    with running(ready_job(ENDLESS)) as job:
        job.wait_for("step 3 ")
        job.containers["algo-1"].exec_run(["python", "-c", KILL_SCRIPT])
        assert job.wait() == {"algo-1": 1}
        assert job.failure().startswith("The platform: the host ran out of memory")


KILL_SCRIPT = """
import os, pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if b"train.py" in (process / "cmdline").read_bytes() and process.name not in ("1", str(os.getpid())):
        os.kill(int(process.name), 9)
"""


def test_an_output_folder_that_cannot_be_written_is_not_a_success(ready_job: Make, tmp_path: Path) -> None:
    (tmp_path / "fixed").mkdir()
    with running(ready_job(), without=["output"], mounts={"output/": tmp_path / "fixed"}) as job:
        assert job.wait() == {"algo-1": 1}
        assert "The platform: " in job.log() and "is not writable (Read-only file system)" in job.log()


@pytest.mark.parametrize(
    ("capability", "sentence"),
    [
        ("7.0", "Your settings: CUDA 13 does not support this instance's GPUs .sm_70, .* ml.g4dn"),
        ("fails", "The platform: the host's GPUs cannot be used: nvidia-smi: fails; start the job again"),
    ],
)  # fmt: skip
def test_a_gpu_that_the_image_cannot_use(ready_job: Make, tmp_path: Path, capability: str, sentence: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho {capability}\ntest {capability} != fails\n")
    program.chmod(0o755)
    fails(ready_job(), sentence, mounts={"/usr/bin/nvidia-smi": program})


def test_a_secret_in_an_error_is_not_shown(ready_job: Make, tmp_path: Path) -> None:
    secret = "AKIA" + "ABCDEFGH" * 2
    broken = changed_module(tmp_path, "training/loss_tracking.py", append=BREAKS.format(error=f"KeyError('{secret}')"))
    log = fails(ready_job(), "A bug in the training code: KeyError", mounts=broken)
    assert secret not in log and "AKIA***" in log
