"""The Docker engine of this machine, through its command line: the SDK's local mode needs that one anyway."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from text_classifier.contract.errors import UserError

#: The image that `make build` makes.
LOCAL_IMAGE = "sagemaker-text-classification:local"

#: Every container of ours carries this label with the name of its job, so that only ours are ever removed.
JOB_LABEL = "sagemaker-text-classification.job"

_ANSWER_SECONDS = 60


def require_engine() -> None:
    """Raise UserError when no Docker engine answers."""
    if shutil.which("docker") is None:
        raise UserError("Docker is not installed; run docker/ensure-engine.sh, or install Docker and start it")
    try:
        answers = _docker("version", "--format", "{{.Server.Version}}").returncode == 0
    except subprocess.TimeoutExpired:
        answers = False
    if not answers:
        raise UserError("no Docker engine answers; start it (docker/ensure-engine.sh does, on Debian and Ubuntu)")


def has_image(image: str) -> bool:
    """Whether the image is on this machine."""
    return _docker("image", "inspect", image).returncode == 0


def require_image(image: str) -> None:
    """Raise UserError when the image is not on this machine."""
    if not has_image(image):
        raise UserError(f"the image {image} is not on this machine; build it with `make build`")


@contextlib.contextmanager
def compose_for_sdk() -> Iterator[dict[str, str]]:
    """Give the environment variables with which the SDK finds Docker Compose. UserError when there is none.

    The SDK takes the plugin only if its version text holds "v2", else a `docker-compose` on PATH. Newer
    plugins ("5.0.0") and Debian's ("2.26.1-4") fail that, and get a `docker-compose` that calls them.
    """
    plugin = _docker("compose", "version")
    if (plugin.returncode == 0 and "v2" in plugin.stdout) or shutil.which("docker-compose"):
        yield {}
        return
    if plugin.returncode != 0:
        raise UserError(
            "Docker Compose is not installed; install the package docker-compose (Debian, Ubuntu) "
            "or docker-compose-plugin (Docker's own packages)"
        )
    with tempfile.TemporaryDirectory(prefix="docker-compose-") as directory:
        shim = Path(directory) / "docker-compose"
        shim.write_text('#!/bin/sh\nexec docker compose "$@"\n')
        shim.chmod(0o755)
        yield {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


def run(
    image: str, command: Sequence[str], *, job: str, mounts: Mapping[Path, str], stdin: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a container without network that sees `mounts` (path to mount point) read-only."""
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    options = ["--rm", "--interactive", "--network=none", f"--label={JOB_LABEL}={job}", *volumes]
    return subprocess.run(
        ["docker", "run", *options, image, *command], input=stdin, capture_output=True, text=True, check=False
    )


def compose_project(job: str) -> str:
    """The Compose project of a job: what Compose labels its network with."""
    return job.lower()


def remove_job(job: str) -> None:
    """Remove the containers and networks of a job, and nothing else."""
    containers = _docker("ps", "--all", "--quiet", f"--filter=label={JOB_LABEL}={job}").stdout.split()
    if containers:
        _docker("rm", "--force", "--volumes", *containers)
    project = f"--filter=label=com.docker.compose.project={compose_project(job)}"
    for network in _docker("network", "ls", "--quiet", project).stdout.split():
        _docker("network", "rm", network)  # fails, rightly, while another job's containers use it


def delete_tree(directory: Path, image: str) -> None:
    """Delete a folder in which containers, as root, may have left files that this user cannot delete."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        volume = f"--volume={directory}:/leftovers"
        _docker("run", "--rm", "--network=none", volume, image, "find", "/leftovers", "-mindepth", "1", "-delete")
        shutil.rmtree(directory)


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
