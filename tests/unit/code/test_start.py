"""The `train` command as SageMaker runs it: the job's configuration in files, start.py in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sagemaker_training")

import start
from support.jobs import Job

CODE = Path(start.__file__).parent

ALONE = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
QUICK = {"epochs": "1", "train_batch_size": "8", "precision": "fp32"}

THE_TOOLKITS_OWN = (
    "sagemaker_job_name", "sagemaker_region", "sagemaker_container_log_level", "sagemaker_s3_output",
    "sagemaker_distribution_instance_groups", "sagemaker_enable_cloudwatch_metrics", "sagemaker_mpi_enabled",
    "_tuning_objective_metric",
)  # fmt: skip

#: Takes the place of hook.py: says that the toolkit reached it.
PROBE = """
import json, os
from sagemaker_training.environment import Environment

def run():
    Environment().to_env_vars()
    print("reached", json.dumps({name: os.environ[name] for name in ("SAGEMAKER_JOB_NAME", "SAGEMAKER_REGION")}))
"""


def configure(
    job: Job,
    hyperparameters: object = QUICK,
    resources: object = ALONE,
    channels: object = None,
    encoding: str = "utf-8",
) -> None:
    """Write the configuration files, and the output folders that SageMaker mounts."""
    config = job.base / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    contents = {
        "hyperparameters.json": hyperparameters,
        "resourceconfig.json": resources,
        "inputdataconfig.json": {} if channels is None else channels,
    }
    for name, content in contents.items():
        (config / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
    (job.base / "output" / "data").mkdir(parents=True, exist_ok=True)
    (job.base / "model").mkdir(exist_ok=True)


def train(job: Job, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command. Returns its exit code and its log."""
    variables = {
        "SAGEMAKER_BASE_DIR": str(job.base), "SAGEMAKER_TRAINING_MODULE": "hook:run", "OMP_NUM_THREADS": "1",
        "AWS_DEFAULT_REGION": "eu-west-1", "PYTHONPATH": f"{CODE}:{job.base}",
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, str(CODE / "start.py"), *arguments],
        env=os.environ | variables | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout


def reach_hook(job: Job, **environment: str) -> tuple[int, str]:
    """Run the command up to where the toolkit calls the hook."""
    (job.base / "probe.py").write_text(PROBE)
    return train(job, SAGEMAKER_TRAINING_MODULE="probe:run", **environment)


def test_a_job_with_everything_that_callers_add_trains(ready_job: Job) -> None:
    """A byte order mark, the SDK's own hyperparameters and channels, another image's name of a channel, an ENTRYPOINT,
    and what an earlier run has left."""
    configure(
        ready_job,
        QUICK | {"sagemaker_job_name": "20261128", "sagemaker_container_log_level": '"20"', "sagemaker_region": "null"},
        ALONE | {"topology": None, "current_group_name": "one", "instance_groups": [
            {"instance_group_name": "one", "instance_type": "ml.g5.xlarge", "hosts": ["algo-1"]}
        ]},
        encoding="utf-8-sig",
    )  # fmt: skip
    data = ready_job.base / "input" / "data"
    (data / "train").rename(data / "training")
    ready_job.write("training", "_SUCCESS", "")
    ready_job.write("training", "part-00001.tsv", "")
    ready_job.write("code", "mine.py", "")
    ready_job.write("sm_drivers", "sourcecode.json", "{}")
    (ready_job.base / "output" / "failure").write_text("Your data: of an earlier run")
    code, log = train(ready_job, "train")
    assert code == 0, log
    assert (ready_job.base / "model" / "model.safetensors").exists()
    assert not (ready_job.base / "output" / "failure").exists()
    assert (ready_job.base / "output" / "success").exists()
    assert log.count("Channels of the SageMaker SDK, which training ignores: code, sm_drivers\n") == 1
    assert "part-00001.tsv (empty)" in log
    assert "Traceback" not in log


def test_help_is_printed_and_starts_nothing(job: Job) -> None:
    for flag in ("-h", "--help"):
        assert train(job, flag) == (0, start.HELP)
    assert not (job.base / "output").exists()


@pytest.mark.parametrize("arguments", [("--epochs", "2"), ("train", "--epochs=2"), ("x",)])
def test_arguments_are_refused(job: Job, arguments: tuple[str, ...]) -> None:
    configure(job)
    code, _ = train(job, *arguments)
    assert code == 1
    assert job.failure == (
        f"Your settings: `train` takes no arguments, and got {arguments[0]!r}; set hyperparameters in the job's request"
    )


def test_the_failure_of_an_earlier_run_is_replaced(job: Job) -> None:
    configure(job, {"epochs": "-1"})
    (job.base / "output" / "failure").write_text("Your data: of an earlier run")
    (job.base / "output" / "success").write_text("")
    assert train(job)[0] == 1
    assert job.failure.startswith("Your settings: hyperparameter epochs=-1 is out of range")
    assert not (job.base / "output" / "success").exists()


@pytest.mark.parametrize("value", [None, True, 7, 1.5, [1], {"a": None}, "", "null", '"7"', "\0", "\ud800", "[" * 9999])
def test_no_hyperparameter_of_the_toolkits_own_ends_the_job(job: Job, value: object) -> None:
    configure(
        job,
        QUICK | dict.fromkeys(THE_TOOLKITS_OWN, value),
        ALONE | {"instance_groups": [{"instance_group_name": "one", "hosts": ["algo-1"]}]},
    )
    code, log = reach_hook(job)
    assert (code, "Traceback" in log, "reached" in log) == (0, False, True), log


def test_a_name_of_digits_stays_a_text(job: Job) -> None:
    configure(job, QUICK | {"sagemaker_job_name": "20261128", "sagemaker_region": '"eu-west-1"'})
    assert 'reached {"SAGEMAKER_JOB_NAME": "20261128", "SAGEMAKER_REGION": "eu-west-1"}' in reach_hook(job)[1]


def test_a_log_level_in_the_environment_that_is_no_number_is_ignored(job: Job) -> None:
    configure(job)
    code, log = reach_hook(job, SAGEMAKER_CONTAINER_LOG_LEVEL="info")
    assert (code, "reached" in log) == (0, True), log


def test_another_error_of_the_toolkit_is_one_sentence(job: Job) -> None:
    configure(job)
    code, _ = reach_hook(job, AWS_PROFILE="missing")
    assert code == 1
    assert job.failure == (
        "The platform: sagemaker-training failed (botocore.exceptions.ProfileNotFound: The config profile (missing) "
        "could not be found); start the job again"
    )


def test_a_channel_in_pipe_mode_is_one_sentence(job: Job) -> None:
    configure(job, channels={"train": {"TrainingInputMode": "Pipe"}})
    assert train(job)[0] == 1
    assert job.failure == (
        "Your settings: the channel 'train' comes in Pipe mode, which is not supported; use File or FastFile"
    )


def test_instance_groups_with_different_numbers_of_gpus_are_refused(job: Job) -> None:
    groups = [
        {"instance_group_name": "large", "instance_type": "ml.g5.12xlarge", "hosts": ["algo-1"]},
        {"instance_group_name": "small", "instance_type": "ml.g5.xlarge", "hosts": ["algo-2"]},
    ]
    configure(job, resources={"current_host": "algo-1", "hosts": ["algo-1", "algo-2"], "instance_groups": groups})
    assert train(job)[0] == 1
    assert job.failure == (
        "Your settings: the instance groups have different numbers of GPUs (large: ml.g5.12xlarge with 4, small: "
        "ml.g5.xlarge with 1); use instance types with the same number, or one instance type"
    )
