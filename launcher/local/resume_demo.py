"""Demonstrates exact resume: an uninterrupted run and a run killed three times end with the same weights.

    python -m launcher.local.resume_demo

SageMaker local mode mounts no checkpoint folder, so the image is run like on SageMaker: `docker run IMAGE train` with
the job's folders mounted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from launcher import program
from launcher.local import engine, local_job
from launcher.local.engine import LOCAL_IMAGE
from text_classifier.contract import sagemaker
from text_classifier.contract.errors import UserError

HYPERPARAMETERS = {
    "epochs": "2",
    "max_data_rows": "600",
    "learning_rate": "1e-4",
    "checkpoint_seconds": "1",
    "log_seconds": "0",
}

#: The second run is killed when a log line starts with one of these. 600 rows make 19 steps per epoch.
KILLS = ("step 6 ", "step 15 ", "step 27 ")

#: The folders that SageMaker mounts; it copies `checkpoints` to S3 and back.
FOLDERS = ("input", "model", "output", "checkpoints")

_JOB = "resume-demo"
_RESOURCES = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}


def main() -> int:
    """Exit codes: 0 bitwise identical weights, 1 different weights or a failed job, 2 something is missing."""
    try:
        engine.require_engine()
        engine.require_image(LOCAL_IMAGE)
        channels = {**local_job.demo_channels(), "model": local_job.DEMO / "model"}
    except UserError as error:
        print(f"resume-demo: {error}", file=sys.stderr)
        return 2
    scratch = Path(tempfile.mkdtemp(prefix="resume-demo-"))
    try:
        sums = []
        for name, kills in (("uninterrupted", ()), ("killed three times", KILLS)):
            print(f"--- {name}", flush=True)
            sums.append(_train(scratch / name.replace(" ", "-"), channels, kills))
    finally:
        engine.remove_job(_JOB)
        engine.delete_tree(scratch, LOCAL_IMAGE)
    print(f"\nuninterrupted       {sums[0]}\nkilled three times  {sums[1]}")
    if sums[0] != sums[1]:
        print("resume-demo: the weights differ; please report this", file=sys.stderr)
        return 1
    print("The weights are bitwise identical.")
    return 0


def _train(base: Path, channels: dict[str, Path], kills: Sequence[str]) -> str:
    """Run a job to its end, restarting it after each kill. Returns the SHA-256 of its weights."""
    config = base / "input" / "config"
    config.mkdir(parents=True)
    files = {"hyperparameters": HYPERPARAMETERS, "resourceconfig": _RESOURCES, "inputdataconfig": {}}
    for name, content in files.items():
        (config / f"{name}.json").write_text(json.dumps(content))
    for folder in FOLDERS:
        (base / folder).mkdir(exist_ok=True)
    for channel, source in channels.items():
        shutil.copytree(source, base / "input" / "data" / channel)
    for line in (*kills, None):
        _run(base, line)
    return hashlib.sha256((base / "model" / "model.safetensors").read_bytes()).hexdigest()


def _run(base: Path, kill_at: str | None) -> None:
    """Run the container; with `kill_at`, kill it when a log line starts with that text."""
    name = f"{_JOB}-{time.time_ns()}"
    options = [f"--name={name}", f"--label={engine.JOB_LABEL}={_JOB}", "--network=none", "--add-host=algo-1:127.0.0.1"]
    mounts = [engine.bind_mount(base / folder, f"{sagemaker.BASE}/{folder}", is_writable=True) for folder in FOLDERS]
    command = ["docker", "run", "--rm", *options, *mounts, LOCAL_IMAGE, "train"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        log = []
        for line in process.stdout:
            log.append(line)
            if line.startswith(("epoch=", "Resuming", "saved")):
                print(line, end="", flush=True)
            if kill_at and line.startswith(kill_at):
                subprocess.run(["docker", "kill", "--signal=KILL", name], check=True, capture_output=True)
                print(f"killed at {line}", end="", flush=True)
                kill_at = None
                break
        log += process.stdout
    if process.returncode not in (0, 128 + 9):
        raise SystemExit(f"resume-demo: the job failed\n{''.join(log[-20:])}")


if __name__ == "__main__":
    program.run("resume-demo", main)
