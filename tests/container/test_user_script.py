"""A user's own script (Estimator's entry_point and source_dir) in the image, under the hook: docs/own-script.md."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from support import ROOT
from support.containers import CODE, ContainerJob, running

Make = Callable[..., ContainerJob]

#: What Trainer needs and the image lacks: accelerate.
PACKAGES = ROOT / "build" / "bench" / "packages"

#: Writes what a script sees.
PROBE = """
import json, os, sys, torch, text_classifier
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "SM_CHANNEL_TRAIN", "SM_HP_EPOCHS")
print("seen", json.dumps({name: os.environ.get(name) for name in names}), sys.argv[1:], torch.get_num_threads())
"""

#: What the shell script of a test runs.
WAIT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("begun", sys.argv)
time.sleep(60)
"""

#: Appended to a script: it fails if threads of gloo have outlived the process group. One that releases tensors while
#: Python shuts down aborts the process, now and then.
NO_THREADS = """
names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in names), names
"""

#: A host with two GPUs, as far as the hook can see.
TWO_GPUS = "#!/bin/sh\necho 8.0\necho 8.0\n"

Script = Callable[..., tuple[ContainerJob, Path]]


def examples() -> dict[str, str]:
    """The scripts of the page, by name."""
    page = (ROOT / "docs" / "own-script.md").read_text()
    return dict(re.findall(r"```python\n# src/(\S+)\n(.*?)```", page, re.DOTALL))


@pytest.fixture
def script_job(ready_job: Make, tmp_path: Path) -> Script:
    """Make a job and the folder of its script, to be mounted at code/."""

    def make(name: str, text: str, host_count: int = 1, **hyperparameters: str) -> tuple[ContainerJob, Path]:
        source = tmp_path / "source"
        source.mkdir()
        (source / name).write_text(text)
        own = {"sagemaker_program": name, "sagemaker_submit_directory": "/opt/ml/code"}
        return ready_job(own | hyperparameters, host_count), source

    return make


def ends(job: ContainerJob, source: Path, code: int = 0, **options: object) -> str:
    """Run the job to its end, with this exit code on each host. Returns the logs of all hosts."""
    with running(job, **{"mounts": {"code": source}} | options):
        codes = set(job.wait().values())
        logs = "\n".join(map(job.log, job.hosts))
        assert codes == {code}, logs
        return logs


@pytest.fixture
def s3() -> Iterator[tuple[Any, dict[str, str]]]:
    """A client of an S3 on this machine with a bucket `code`, and the environment of a job that finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="code")
    yield client, keys | {"S3_ENDPOINT_URL": address}
    server.stop()


def test_a_source_in_s3_is_fetched_as_the_sdk_uploads_it(
    ready_job: Make, tmp_path: Path, s3: tuple[Any, dict[str, str]]
) -> None:
    client, environment = s3
    (tmp_path / "mine.py").write_text(PROBE)
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "mine.py", "mine.py")
    key = "a job/source/sourcedir+1.tar.gz"
    client.upload_file(str(tmp_path / "source.tar.gz"), "code", key)
    program = {"sagemaker_program": '"mine.py"', "sagemaker_submit_directory": f'"s3://code/{key}"', "epochs": "2"}
    options: dict[str, Any] = {"environment": environment, "network_mode": "host"}
    with running(ready_job(program), **options) as job:
        assert set(job.wait().values()) == {0}, job.log()
        assert '"SM_HP_EPOCHS": "2"' in job.log()


def test_a_source_that_s3_does_not_have_is_one_sentence(ready_job: Make, s3: tuple[Any, dict[str, str]]) -> None:
    program = {"sagemaker_program": "mine.py", "sagemaker_submit_directory": "s3://code/none.tar.gz"}
    options: dict[str, Any] = {"environment": s3[1], "network_mode": "host"}
    with running(ready_job(program), **options) as job:
        assert set(job.wait().values()) == {1}, job.log()
        assert "sagemaker_submit_directory='s3://code/none.tar.gz' cannot be fetched" in job.failure()
        assert "404" in job.failure() and "Traceback" not in job.failure()


def test_local_code_without_a_program_does_not_hinder_training(ready_job: Make, tmp_path: Path) -> None:
    """The SDK's local mode mounts it over /opt/ml/code."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text("raise SystemExit('not this one')")
    job = ready_job({"epochs": "1", "precision": "fp32", "train_batch_size": "8"})
    with running(job, mounts={"code": tmp_path / "source"}):
        assert job.wait() == {"algo-1": 0}, job.log()
        assert job.manifest() is not None


def test_a_script_sees_the_toolkits_variables_and_torchs(script_job: Script) -> None:
    job, source = script_job("mine.py", PROBE, epochs="3", unheard_of='"x"')
    log = ends(job, source)
    assert (
        'seen {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", '
        '"SM_CHANNEL_TRAIN": "/opt/ml/input/data/train", "SM_HP_EPOCHS": "3"} '
        "['--epochs', '3', '--unheard_of', 'x'] 1"
    ) in log
    assert (job.folder("algo-1", "output") / "success").exists()


def test_a_process_for_each_gpu(script_job: Script, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(TWO_GPUS)
    program.chmod(0o755)
    job, source = script_job("mine.py", PROBE)
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "/elsewhere"}  # as a derived image may set it
    log = ends(job, source, mounts={"code": source, "/usr/bin/nvidia-smi": program}, environment=environment)
    assert sorted(re.findall(r'"RANK": "(\d)", "LOCAL_RANK": "(\d)", "WORLD_SIZE": "2"', log)) == [
        ("0", "0"),
        ("1", "1"),
    ]


@pytest.mark.parametrize("host_count", [1, 2])
def test_the_plain_loop_of_the_docs_trains(script_job: Script, host_count: int) -> None:
    job, source = script_job("loop.py", examples()["loop.py"] + NO_THREADS, host_count, epochs="2")
    log = ends(job, source)
    assert re.findall(r"^epoch=(\d); loss=0\.\d+;$", log, re.MULTILINE) == ["1", "2"]
    assert (job.folder("algo-1", "model") / "model.safetensors").exists()


@pytest.mark.parametrize("host_count", [1, 2])
def test_the_trainer_of_the_docs_trains(script_job: Script, host_count: int) -> None:
    job, source = script_job("trainer.py", examples()["trainer.py"] + NO_THREADS, host_count, epochs="2")
    mounts = {"code": source, "/packages": PACKAGES}
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{CODE}:/packages"}
    log = ends(job, source, mounts=mounts, environment=environment)
    assert f"saved after step {16 // host_count}\n" in log
    assert (job.folder("algo-1", "model") / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["loop.py", "trainer.py"])
def test_a_stop_reaches_all_processes_which_save(script_job: Script, name: str) -> None:
    job, source = script_job(name, examples()[name], 2, epochs="1000")
    mounts = {"code": source, "/packages": PACKAGES}
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{CODE}:/packages"}
    with running(job, mounts=mounts, environment=environment):
        job.wait_for("epoch=1;" if name == "loop.py" else "'loss'")
        job.stop_signal("algo-2")
        assert job.wait() == {"algo-1": 0, "algo-2": 0}, "\n".join(map(job.log, job.hosts))
        assert "saved" in job.log()
        assert (job.folder("algo-1", "model") / "model.safetensors").exists()


def test_a_stop_ends_a_script_that_does_not_handle_it(script_job: Script) -> None:
    job, source = script_job("mine.py", "import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    with running(job, mounts={"code": source}):
        job.wait_for("begun")
        job.stop_signal()
        assert job.wait() == {"algo-1": 0}, job.log()
        assert job.failure() == ""
        assert "mine.py was stopped.\n" in job.log()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"mine.py": "import data\n\ndata.load()\n", "data.py": "def load():\n    raise ValueError('no rows')\n"},
            "Your script: data.py:2 raised ValueError: no rows; the traceback is in the job's log",
        ),
        (
            {"mine.py": f"raise KeyError('hf_{'a' * 34}')"},
            "Your script: mine.py:1 raised KeyError: 'hf_***'; the trace",
        ),
        ({"mine.py": "import os; os._exit(7)"}, "Your script: mine.py ended with exit code 7; look at the end of the"),
        (
            {"mine.py": "import os; os.kill(os.getpid(), 9)"},
            "The platform: the host ran out of memory, so mine.py was killed; use an instance with more than ",
        ),
        (
            {"mine.py": "import os; os.kill(os.getpid(), 11)"},
            "The platform: training was killed by SIGSEGV; look at the",
        ),
        ({}, "Your settings: sagemaker_program='mine.py' is not in /opt/ml/code, which is empty; name a file of the"),
        (
            {"mine.py": "", "requirements.txt": "nowhere==1.0\n--no-index\n"},
            "Your settings: the requirements of mine.py cannot be installed (pip ended with exit code 1); the log",
        ),
    ],
)
def test_a_failure_is_one_sentence(script_job: Script, files: Mapping[str, str], reason: str) -> None:
    job, source = script_job("mine.py", "")
    (source / "mine.py").unlink()
    for name, text in files.items():
        (source / name).write_text(text)
    log = ends(job, source, code=1)
    assert job.failure().startswith(reason), job.failure()
    assert reason.removesuffix("; the trace") in log
    assert "a" * 34 not in log + job.failure()


def test_the_failing_process_ends_the_others(script_job: Script, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(TWO_GPUS)
    program.chmod(0o755)
    text = "import os, time\nif os.environ['RANK'] == '1': raise ValueError('only one')\ntime.sleep(600)\n"
    job, source = script_job("mine.py", text)
    ends(job, source, code=1, mounts={"code": source, "/usr/bin/nvidia-smi": program})
    assert job.failure().startswith("Your script: mine.py:2 raised ValueError: only one")


def test_a_source_that_cannot_be_fetched_is_one_sentence(ready_job: Make) -> None:
    source = "s3://bucket/job/source/sourcedir.tar.gz"
    job = ready_job({"sagemaker_program": "mine.py", "sagemaker_submit_directory": source})
    with running(job):
        assert job.wait() == {"algo-1": 1}
        assert job.failure().startswith(
            f"Your settings: sagemaker_submit_directory='{source}' cannot be fetched (NoCredentialsError: "
        )
        assert "Traceback" not in job.log()


def test_requirements_are_installed(script_job: Script) -> None:
    job, source = script_job("mine.py", "import tiny_thing\nprint('installed', tiny_thing.VALUE)\n")
    with zipfile.ZipFile(source / "tiny_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_thing.py", "VALUE = 7\n")
        wheel.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(
            "tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    (source / "requirements.txt").write_text("--no-index\n./tiny_thing-1.0-py3-none-any.whl\n")
    assert "installed 7\n" in ends(job, source)


def test_a_shell_script_runs_once_and_gets_the_stop(script_job: Script) -> None:
    job, source = script_job("train.sh", '#!/bin/bash\nset -eu\nexec python wait.py "$@"\n', epochs="a b")
    (source / "wait.py").write_text(WAIT)
    (source / "train.sh").chmod(0o755)
    with running(job, mounts={"code": source}):
        job.wait_for("begun ['wait.py', '--epochs', 'a b']")
        job.stop_signal()
        assert job.wait() == {"algo-1": 0}, job.log()
