"""A job in SageMaker local mode, end to end: train in containers, unpack the artifact, classify validation rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from launcher import ROOT
from launcher.local import engine, studio
from launcher.local.archives import unpack
from launcher.plan.channels import files_of
from launcher.plan.request import create_training_job
from launcher.signals import Interrupted, StopSignals
from text_classifier.contract import schema, schema_files
from text_classifier.contract.errors import UserError

RUNS = ROOT / "build" / "local"
DEMO = ROOT / "build" / "demo"
DEMO_HYPERPARAMETERS = {"epochs": "3", "learning_rate": "1e-4", "train_batch_size": "32", "seed": "42"}

#: Where the demonstration sees the model and the channels.
_MODEL_MOUNT, _CHANNELS_MOUNT = "/model", "/channels"


class TrainingFailed(Exception):
    """The job failed. The first line of the message is the reason."""


@dataclass(frozen=True)
class LocalJob:
    """A job for containers on this machine."""

    name: str
    image: str
    channels: Mapping[str, Path]
    hyperparameters: Mapping[str, str]
    instance_count: int = 1

    @property
    def directory(self) -> Path:
        """The folder with the results: model.tar.gz, output.tar.gz, model/ and output/."""
        return RUNS / self.name


@dataclass
class Result:
    """The metrics.json of a run, the classified validation rows, and the wall time of each stage in seconds."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage and time it."""
        print(f"--- {name}", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


def demo_channels() -> dict[str, Path]:
    """The demo's channels. Raises UserError before `make demo-data`."""
    channels = {name: DEMO / name for name in ("train", "validation")}
    if not all(path.is_dir() for path in channels.values()):
        raise UserError("the demo data is missing; run `make demo-data`, or give a file with --data")
    return channels


def run(job: LocalJob) -> Result:
    """Train, unpack and classify.

    Raises UserError (nothing was started), TrainingFailed (`output/` has the job's messages) or Interrupted (the
    run's folder is deleted). The job's containers, network and temporary files are always removed.
    """
    engine.require_engine()
    engine.require_image(job.image)
    studio.require_one_container(job.instance_count)
    from launcher.sdk import local_mode

    with engine.compose_for_sdk() as variables, StopSignals() as signals:
        try:
            job.directory.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                f"{relative(job.directory)} already exists; delete it, or give another --job-name"
            ) from None
        scratch = studio.scratch("sagemaker-local-")
        try:
            engine.require_shared(scratch, job.image)
            with environment(COMPOSE_PROJECT_NAME=engine.compose_project(job.name), **variables):
                return _run(job, scratch, local_mode)
        except Exception:
            if signals.received:
                raise Interrupted(signals.received) from None
            raise
        finally:
            signals.ignore()
            engine.remove_job(job.name)
            engine.delete_tree(scratch, job.image)
            if signals.received:
                shutil.rmtree(job.directory, ignore_errors=True)
            with contextlib.suppress(OSError):
                job.directory.rmdir()  # succeeds only if the folder is empty because nothing was started


def _run(job: LocalJob, scratch: Path, local_mode: ModuleType) -> Result:
    result = Result()
    with result.stage("train"):
        failure = _train(job, scratch, local_mode)
    with result.stage("unpack"):
        _collect(job, scratch / "archives", failure)
        result.metrics = _metrics(job)
    with result.stage("classify"):
        result.predictions = _classify(job, scratch)
    return result


def _train(job: LocalJob, scratch: Path, local_mode: ModuleType) -> str | None:
    """Train. Returns the SDK's error message, or None."""
    root = scratch / "containers"
    root.mkdir()
    request = create_training_job(
        name=job.name,
        image=job.image,
        role=local_mode.LOCAL_ROLE,
        inputs={name: f"file://{_stage(path, scratch / name)}" for name, path in job.channels.items()},
        output=f"file://{scratch / 'archives'}",
        hyperparameters=job.hyperparameters,
        instance_type="local",
        instance_count=job.instance_count,
    )
    try:
        local_mode.train(request, root, {engine.JOB_LABEL: job.name})
    except local_mode.LocalModeError as error:
        return str(error)
    return None


def _stage(source: Path, directory: Path) -> Path:
    """Put the files of a channel into their own folder: hard links if the file system allows them, else copies.

    The SDK mounts the whole parent folder of a file, writable, and rejects folders below /root and /etc.
    """
    for name, file in files_of(source).items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(file, target)
    return directory


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _collect(job: LocalJob, archives: Path, failure: str | None) -> None:
    """Move the archives to the run's folder and unpack them; the model only if the job succeeded.

    A `failure` file means that the job failed, whatever the SDK reports: with several containers, the SDK reports
    only the one that ends first.
    """
    _move_and_unpack(archives / "output.tar.gz", job.directory / "output")
    reason = job.directory / "output" / "failure"
    if reason.exists():
        raise TrainingFailed(reason.read_text(errors="replace").strip())
    if failure:
        raise TrainingFailed(f"training ended without a reason; see the last log lines ({failure})")
    _move_and_unpack(archives / "model.tar.gz", job.directory / "model")


def _move_and_unpack(archive: Path, directory: Path) -> None:
    if archive.exists():
        shutil.move(archive, directory.parent)
        try:
            unpack(directory.parent / archive.name, directory)
        except ValueError as error:
            raise TrainingFailed(f"its results in {relative(directory.parent)} cannot be unpacked: {error}") from None


def _metrics(job: LocalJob) -> Mapping[str, Any]:
    path = job.directory / "output" / "data" / schema.METRICS
    if not path.exists():
        raise TrainingFailed("training ended without writing metrics.json; see the last log lines")
    return cast(Mapping[str, Any], schema_files.read(path, schema.Metrics, ("headline",)))


def _classify(job: LocalJob, scratch: Path) -> list[dict[str, Any]]:
    """Classify validation rows with the unpacked model: {"text", "label", "predicted", "probability"} of each."""
    command = ["docker", "run", "--rm", studio.network(), f"--label={engine.JOB_LABEL}={job.name}"]
    command += [engine.bind_mount(job.directory / "model", _MODEL_MOUNT)]
    command += [
        engine.bind_mount(scratch / name, f"{_CHANNELS_MOUNT}/{name}") for name in job.channels if name != "model"
    ]
    command += [job.image, "python", "-m", "text_classifier.demonstration", _MODEL_MOUNT, _CHANNELS_MOUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no error message"])[-1]
        raise TrainingFailed(f"the model in {relative(job.directory / 'model')} cannot classify: {reason}")
    return cast(list[dict[str, Any]], json.loads(done.stdout))


def relative(path: Path) -> str:
    """A path relative to the current folder, for messages."""
    return os.path.relpath(path)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the child processes that the SDK starts."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
