"""Whole jobs through the hook: one process prepares the data, and the training processes map it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytest.importorskip("sagemaker_training")

import hook
import prepare
from support.jobs import Job, easy_rows, table
from text_classifier.contract.errors import PreparationError
from text_classifier.contract.parsing import parse
from text_classifier.preparation.rows import map_rows
from text_classifier.preparation.tokens import map_tokens
from text_classifier.runtime.exchange import Streams
from text_classifier.runtime.stop import NOTHING_TO_SAVE, Stopped

QUICK = {"epochs": "1", "precision": "fp32", "train_batch_size": "8", "max_sequence_length": "8"}

#: The hook on a host without GPUs, with as many training processes as the first argument says.
HOST = """
    import sys
    import hook
    from sagemaker_training.errors import ClientError
    from text_classifier.runtime import hosts
    hosts.MASTER_PORT = int(sys.argv[2])
    hook.gpu.prepare = lambda: int(sys.argv[1])
    if len(sys.argv) > 3:
        hook.SCRIPT = sys.argv[3]
    try:
        hook.run()
    except ClientError as error:
        sys.exit(str(error))
"""

#: train.py in a process that can neither read data nor tokenize.
ONLY_TRAINS = """
    import runpy, sys
    from text_classifier.dataset import load
    load.read_data = None
    from text_classifier.tokenization import tokens
    tokens.tokenize = None
    runpy.run_path({train!r}, run_name="__main__")
"""


def start(job: Job, processes: int = 1, script: Path | None = None, **hyperparameters: str) -> subprocess.Popen[str]:
    config, temporary = job.base / "input" / "config", job.base / "tmp"
    config.mkdir(parents=True, exist_ok=True)
    temporary.mkdir(exist_ok=True)
    (config / "hyperparameters.json").write_text(json.dumps(QUICK | hyperparameters))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {"SAGEMAKER_BASE_DIR": str(job.base), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOST), str(processes), port, *([str(script)] if script else [])],
        env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    log, _ = process.communicate(timeout=240)
    return process.returncode, log


def remains(job: Job) -> list[str]:
    """What the job has left in its temporary folder."""
    return [path.name for path in (job.base / "tmp").iterdir()]


def results(job: Job) -> dict[str, bytes | object]:
    """What depends on data and settings alone."""
    model, output = job.base / "model", job.base / "output" / "data"
    names = ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json")
    files = [*(model / name for name in names), output / "data_report.json", output / "predictions_validation.csv"]
    found: dict[str, bytes | object] = {path.name: path.read_bytes() for path in files}
    return found | {"epochs": job.metrics["epochs"], "loss_curve": job.metrics["loss_curve"]}


def timeless(log: str) -> list[str]:
    """The lines of a log that do not say how long something took."""
    return [line for line in log.splitlines() if not re.search(r" s[ ,;.]| s$|/s", line)]


def test_a_job_of_the_hook_equals_one_of_a_process_that_prepares_for_itself(ready_job: Job) -> None:
    code, log = ready_job.run(*(f"--{name}={value}" for name, value in QUICK.items()))
    assert code == 0, log
    alone = results(ready_job)
    lines = timeless(log)
    ready_job.clear()
    code, log = end(start(ready_job))
    assert code == 0, log
    assert results(ready_job) == alone
    assert timeless(log) == lines
    assert remains(ready_job) == []


def test_the_data_of_two_processes_is_prepared_once(ready_job: Job, tmp_path: Path) -> None:
    script = tmp_path / "only_trains.py"
    script.write_text(textwrap.dedent(ONLY_TRAINS).format(train=str(hook.SCRIPT)))
    code, log = end(start(ready_job, 2, script))
    assert code == 0, log
    assert "rank 0 of 2 trained on 29 of 58 rows" in log and "rank 1 of 2 trained on 29 of 58 rows" in log
    assert log.count("split ") == log.count("tokens of train: ") == 1
    assert remains(ready_job) == []


def test_a_mistake_in_the_data_ends_the_job_before_torch_is_imported(ready_job: Job, tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text("import time; time.sleep(60)")
    ready_job.write("train", "reviews.tsv", table([*easy_rows(8), ("two", "many\tfields")]))
    started = time.monotonic()
    code, log = end(start(ready_job, 2, script))
    sentence = "Your data: train/reviews.tsv line 10 has 3 fields, the header has 2; fix or remove the row"
    assert code == 1 and time.monotonic() - started < 30
    assert ready_job.failure.startswith(sentence), ready_job.failure
    assert log.count(sentence) == 2  # that of the process, and that of the hook
    assert "Traceback" not in log
    assert remains(ready_job) == []


def test_a_mistake_in_the_tokenizer_is_left_to_who_checks_the_model(
    ready_job: Job, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ready_job.base / "input" / "data" / "model"
    model.unlink()
    for path in tiny_model.iterdir():
        ready_job.write("model", path.name, "{" if path.name == "tokenizer.json" else path.read_bytes())
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(ready_job.base))
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as it will be, and no longer after this test
    assert prepare.main([str(tmp_path), "--train_size=0.5"]) == 0
    assert not (ready_job.base / "output" / "failure").exists()
    with pytest.raises(PreparationError, match=r"the model in the channel 'model' cannot be loaded \(its tokenizer: "):
        map_tokens(tmp_path)


def test_a_stop_while_the_data_is_read_is_a_clean_end(ready_job: Job) -> None:
    channel = ready_job.base / "input" / "data" / "train" / "reviews.tsv"
    channel.write_text(table(easy_rows(64) * 5_000))
    process = start(ready_job)
    deadline = time.monotonic() + 30
    while not remains(ready_job) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "Stopped before the first step: there is nothing to save.\n")
    assert remains(ready_job) == []
    assert not (ready_job.base / "output" / "failure").exists()


def test_a_stop_of_another_host_ends_those_that_wait_for_the_rows(
    ready_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training processes that do not carry what is exchanged are not told otherwise."""
    config = ready_job.base / "input" / "config"
    config.mkdir()
    resources = {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"], "network_interface_name": "lo"}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": {"S3DistributionType": "ShardedByS3Key"}}))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(ready_job.base))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "prepared"
    folder.mkdir()
    Streams(folder, 2).stop()
    assert prepare.main([str(folder)]) == 0
    with pytest.raises(Stopped, match=NOTHING_TO_SAVE):
        map_rows(parse({}), folder)
    assert not (ready_job.base / "output" / "failure").exists()
