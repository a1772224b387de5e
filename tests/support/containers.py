"""A training job in containers of the built image, started as SageMaker starts them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network

import docker
from support import ROOT
from support.jobs import easy_rows, table

IMAGE = os.environ.get("TEST_IMAGE", "sagemaker-text-classification:local")
IMAGE_WITH_TOOLS = os.environ.get("TEST_IMAGE_WITH_TOOLS", "sagemaker-text-classification:test")
LABEL = "sagemaker-text-classification.test"
#: Of what the tests of this checkout start: those of another may run beside them.
LABELS = {LABEL: str(ROOT)}
PACKAGE = ROOT / "code" / "text_classifier"
INSIDE = "/opt/ml"
CODE = "/opt/text-classifier"

#: How SageMaker describes a channel of files.
FILE_MODE = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}

#: The folders that a job writes to; the others are mounted read-only.
WRITABLE = ("model", "output", "checkpoints")

#: The fastest training: the tiny model, fp32, eight rows per step.
QUICK = {"train_batch_size": "8", "precision": "fp32", "log_seconds": "0"}
WHOLE_LIFE = QUICK | {"epochs": "40"}  #: trains for about as long as it takes to start
ENDLESS = QUICK | {"epochs": "1000000"}

#: Appended to loss_tracking.py: training fails at its third step.
BREAKS = """

def _broken(self, step, loss, rows):
    if step == 3:
        raise {error}


LossWatch.add = _broken
"""


def remove_leftovers() -> None:
    """Remove the containers and networks of an interrupted test run."""
    client = docker.from_env()
    ours = {"label": [f"{label}={value}" for label, value in LABELS.items()]}
    for container in client.containers.list(all=True, filters=ours):
        with contextlib.suppress(docker.errors.APIError):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters=ours):
        network.remove()


@dataclass
class ContainerJob:
    """A job of one or more hosts. Each host has its own configuration, model and output; the channels are shared."""

    base: Path
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    host_count: int = 1
    interface: str = "eth0"
    sharded: Sequence[str] = ()  #: channels; the test gives each host its files
    containers: dict[str, Container] = field(default_factory=dict)
    network: Network | None = None

    @property
    def hosts(self) -> list[str]:
        return [f"algo-{number}" for number in range(1, self.host_count + 1)]

    def channel(self, name: str, file: str, content: str) -> None:
        """Write a file of an input channel."""
        path = self.base / "channels" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def folder(self, host: str, name: str) -> Path:
        return self.base / host / name

    def _prepare(self, host: str) -> None:
        (self.base / "channels").mkdir(exist_ok=True)
        for name in ("config", "model", "output", "output/data"):
            self.folder(host, name).mkdir(parents=True)
            self.folder(host, name).chmod(0o777)  # the container's root may be another user
        files = {
            "hyperparameters.json": dict(self.hyperparameters),
            "resourceconfig.json": {
                "current_host": host, "hosts": self.hosts[::-1], "network_interface_name": self.interface,
            },
            "inputdataconfig.json": {
                path.name: FILE_MODE | ({"S3DistributionType": "ShardedByS3Key"} if path.name in self.sharded else {})
                for path in (self.base / "channels").iterdir()
            },
        }  # fmt: skip
        for name, content in files.items():
            (self.folder(host, "config") / name).write_text(json.dumps(content))

    def start(self, **options: Any) -> None:
        """Start a container per host. `options` are docker's, except `mounts` (path inside: path outside), `without`
        (paths that are not mounted), `image` and `only` (host: options for it alone)."""
        client = docker.from_env()
        only: Mapping[str, Mapping[str, Any]] = options.pop("only", {})
        if self.host_count > 1:
            self.network = client.networks.create(f"{LABEL}.{time.monotonic_ns()}", internal=True, labels=LABELS)
        for host in self.hosts:
            self._prepare(host)
            settings = {
                "environment": {"OMP_NUM_THREADS": "1"},
                **options,
                **only.get(host, {}),
            }  # hosts share this machine
            mounts = {
                "input/config": self.folder(host, "config"), "input/data": self.base / "channels",
                "model": self.folder(host, "model"), "output": self.folder(host, "output"),
                **settings.pop("mounts", {}),
            }  # fmt: skip
            for target in settings.pop("without", ()):
                del mounts[target]
            volumes = {
                str(source): {"bind": str(PurePosixPath(INSIDE, target)), "mode": "rw" if target in WRITABLE else "ro"}
                for target, source in mounts.items()
            }
            place = {"network": self.network.name} if self.network else {"network_mode": "none"}
            command = settings.pop("command", ["train"])
            self.containers[host] = client.containers.create(
                settings.pop("image", IMAGE),
                command,
                hostname=host,
                labels=LABELS,
                volumes=volumes,
                **(place | settings),
            )
            if self.network:
                self.network.disconnect(self.containers[host])
                self.network.connect(self.containers[host], aliases=[host])
        for container in self.containers.values():
            container.start()

    def remove(self) -> None:
        for container in self.containers.values():
            container.remove(force=True, v=True)
        if self.network:
            self.network.remove()

    def stop_signal(self, *hosts: str) -> None:
        """Send the signal that SageMaker sends to stop a job, unless the container has ended."""
        for host in hosts or self.hosts:
            with contextlib.suppress(docker.errors.APIError):
                self.containers[host].kill("SIGTERM")

    def wait(self, timeout: float = 240.0) -> dict[str, int]:
        """Wait until all containers have ended. Returns their exit codes by host."""
        deadline = time.monotonic() + timeout
        codes = {}
        for host, container in self.containers.items():
            codes[host] = container.wait(timeout=max(1.0, deadline - time.monotonic()))["StatusCode"]
        return codes

    def wait_for(self, text: str, host: str = "algo-1", timeout: float = 90.0) -> None:
        """Wait until the log of a host contains the text."""
        self.wait_until(lambda: text in self.log(host), f"{text!r} in the log of {host}", timeout)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 90.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come; " + "\n".join(map(self.log, self.hosts)))
            time.sleep(0.1)

    def log(self, host: str = "algo-1") -> str:
        return self.containers[host].logs().decode(errors="replace")

    def failure(self, host: str = "algo-1") -> str:
        path = self.folder(host, "output") / "failure"
        return path.read_text() if path.exists() else ""

    def manifest(self, host: str = "algo-1") -> dict[str, Any] | None:
        """The manifest of the saved model; None when there is no model. An incomplete model is an error."""
        names = {path.name for path in self.folder(host, "model").iterdir()}
        if not names:
            return None
        assert names >= {"config.json", "model.safetensors", "tokenizer.json", "training_manifest.json"}, names
        manifest: dict[str, Any] = json.loads((self.folder(host, "model") / "training_manifest.json").read_text())
        return manifest

    def life_seconds(self, host: str = "algo-1") -> float:
        """From the start of the container to its end, as recorded by the engine."""
        container = self.containers[host]
        container.reload()
        return (
            time_of(container.attrs["State"]["FinishedAt"]) - time_of(container.attrs["State"]["StartedAt"])
        ).total_seconds()


def time_of(text: str) -> datetime:
    """Parse a time of the engine."""
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00")


@contextlib.contextmanager
def running(job: ContainerJob, **options: Any) -> Iterator[ContainerJob]:
    """Start the job; remove its containers and its network at the end."""
    try:
        job.start(**options)
        yield job
    finally:
        job.remove()


@dataclass(frozen=True)
class Stop:
    """How a job ended after a stop signal. `state` is the status in the manifest, or "no model"."""

    delay: float
    seconds: float
    codes: tuple[int, ...]
    state: str
    complaint: str

    LIMIT = 15.0  #: of the 120 seconds that SageMaker gives


def stop_after(job: ContainerJob, delay: float, **options: Any) -> Stop:
    """Start the job, send the stop signal to all hosts after `delay` seconds, and report how it ends."""
    with running(job, **options):
        time.sleep(delay)
        sent = time.monotonic()
        job.stop_signal()
        codes = tuple(job.wait().values())
        seconds = time.monotonic() - sent
        manifest = job.manifest()
        state = str(manifest["status"]) if manifest else "no model"
        complaints = [f"{host}: {job.failure(host)}" for host in job.hosts if job.failure(host)]
        if any(codes):
            complaints.append(f"exit codes {codes}")
        if seconds > Stop.LIMIT:
            complaints.append(f"{seconds:.1f} s")
        log = job.log()
        if manifest and state == "stopped" and f"(stopped after step {manifest['steps']})" not in log:
            complaints.append("the log does not name the step")
        if complaints:
            complaints += [job.log(host)[-3000:] for host in job.hosts]
        return Stop(delay, seconds, codes, state, "\n".join(complaints))


def ready_job(base: Path, model: Path, hyperparameters: Mapping[str, str], host_count: int = 1) -> ContainerJob:
    """A job that succeeds if nothing interferes: 64 easy rows and the tiny model."""
    job = ContainerJob(base, hyperparameters, host_count)
    job.channel("train", "reviews.tsv", table(easy_rows(64)))
    for path in model.iterdir():
        target = base / "channels" / "model" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    return job


def changed_module(folder: Path, name: str, *, replace: Sequence[str] = (), append: str = "") -> dict[str, Path]:
    """A changed copy of a module of the package, as a mount."""
    text = (PACKAGE / name).read_text()
    if replace:
        assert replace[0] in text
        text = text.replace(replace[0], replace[1])
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / Path(name).name
    copy.write_text(text + append)
    return {f"{CODE}/text_classifier/{name}": copy}


def write_tiny_model(folder: Path) -> None:
    """Let the image write the tiny model: the tests' own environment has no torch."""
    folder.chmod(0o777)
    command = ["python", "-m", "support.tiny_model", "/tiny-model"]
    mounts = {
        str(ROOT / "tests"): {"bind": "/tests", "mode": "ro"},
        str(folder): {"bind": "/tiny-model", "mode": "rw"},
    }
    docker.from_env().containers.run(
        IMAGE, command, remove=True, network_mode="none", labels=LABELS, working_dir="/tests", volumes=mounts
    )
