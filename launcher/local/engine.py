"""The Docker engine of this machine, through the docker command, which the SDK's local mode needs anyway."""

from __future__ import annotations

import contextlib
import csv
import getpass
import io
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from launcher.local import studio
from text_classifier.contract.errors import UserError

#: The image that `make build` builds.
LOCAL_IMAGE = "sagemaker-text-classification:local"

#: Label of every container we start, with the name of its job, so that only those are removed.
JOB_LABEL = "sagemaker-text-classification.job"

_ANSWER_SECONDS = 60
#: The exit code of a docker command that was given up, as that of timeout(1).
NO_ANSWER = 124


def require_engine() -> None:
    """Raise UserError if Docker is not installed or its engine does not respond."""
    if shutil.which("docker") is None:
        raise UserError("Docker is not installed; run docker/ensure-engine.sh, or install Docker and start it")
    answer = _docker("version", "--format", "{{.Server.Version}}")
    if answer.returncode != 0:
        raise UserError(_unreachable(answer.stderr))


def _unreachable(message: str) -> str:
    """The sentence for an engine that cannot be used, from the docker command's message; empty if it gave none."""
    if re.search(r"permission denied while trying to connect|\.sock: connect: permission denied", message):
        return (
            "the Docker engine denies access to this user: join the group docker "
            f"(sudo usermod -aG docker {getpass.getuser()}) and log in again"
        )
    reason = f" ({_reason(message)})" if message.strip() else ""
    if host := os.environ.get("DOCKER_HOST"):
        return f"the Docker engine of DOCKER_HOST={host} does not respond{reason}; correct or unset DOCKER_HOST"
    if re.search(r"context|tcp://|ssh://|error during connect", message):
        return (
            f"the Docker engine of the docker command's context does not respond{reason}; choose another context: "
            "`docker context ls`, `docker context use default`"
        )
    if message.strip() and "Is the docker daemon running?" not in message:
        return f"the Docker engine does not respond{reason}; correct that, and check `docker version`"
    return "the Docker engine does not respond; start it (on Debian and Ubuntu: docker/ensure-engine.sh)"


def _reason(message: str) -> str:
    """The line of docker's message that names the cause; later lines name its --help."""
    lines = [line for line in message.strip().splitlines() if line.strip() and "--help" not in line] or ["no message"]
    named = [line for line in lines if line.startswith("docker: ")]
    return (named or lines[-1:])[0].removeprefix("docker: ").removeprefix("Error response from daemon: ").rstrip(".")


def has_image(image: str) -> bool:
    """Whether the image is on this machine. Raises UserError if the engine does not answer."""
    return _answered(_docker("image", "inspect", image)).returncode == 0


def require_image(image: str) -> None:
    """Raise UserError if the image is not on this machine."""
    if not has_image(image):
        raise UserError(f"the image {image} is not on this machine; build it with `make build`")


@contextlib.contextmanager
def compose_for_sdk() -> Iterator[dict[str, str]]:
    """Yield the environment variables with which the SDK finds Docker Compose. Raises UserError without Compose.

    The SDK uses the plugin only if its version text contains "v2", else a `docker-compose` on PATH. Newer plugins
    ("5.0.0") and Debian's ("2.26.1-4") fail that test, so they get a `docker-compose` that calls the plugin.
    """
    plugin = _answered(_docker("compose", "version"))
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


def compose_project(job: str) -> str:
    """The Compose project of a job, with which Compose labels its network."""
    return job.lower()


def remove_job(job: str) -> None:
    """Remove the containers and networks of this job only."""
    containers = _docker("ps", "--all", "--quiet", f"--filter=label={JOB_LABEL}={job}").stdout.split()
    if containers:
        _docker("rm", "--force", "--volumes", *containers)
    project = f"--filter=label=com.docker.compose.project={compose_project(job)}"
    for network in _docker("network", "ls", "--quiet", project).stdout.split():
        _docker("network", "rm", network)  # fails, as it should, while another job uses it


def interrupt_container(name: str) -> None:
    """Send SIGINT to a container, if it runs."""
    _docker("kill", "--signal=SIGINT", name)


def remove_container(name: str) -> None:
    """Remove a container, if it exists, running or not."""
    _docker("rm", "--force", "--volumes", name)


def bind_mount(source: Path, target: str, is_writable: bool = False) -> str:
    """The option of `docker run` that mounts a file or folder. Unlike --volume it takes every legal character.

    Its value is a line of CSV, in which a comma or a quotation mark of a path is quoted.
    """
    fields = ["type=bind", f"source={source.absolute()}", f"target={target}", *([] if is_writable else ["readonly"])]
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    return "--mount=" + line.getvalue().removesuffix("\r\n")


def require_shared(folder: Path, image: str) -> None:
    """Raise UserError unless containers see this machine's `folder`, as a probe file in it shows.

    An engine that runs elsewhere, or in a sandbox of its own, mounts a folder of the same name: mostly an empty one.
    """
    if found := set(":$#?") & set(str(folder)):
        raise UserError(
            f"{folder} has the character {found.pop()} in its name, which local mode cannot mount; set TMPDIR to "
            "another folder"
        )
    word = uuid.uuid4().hex
    probe = folder / "probe"
    probe.write_text(word)
    try:
        seen = _docker("run", "--rm", studio.network(), bind_mount(folder, "/probe"), image, "cat", "/probe/probe")
    finally:
        probe.unlink()
    if word in seen.stdout:
        return
    if seen.returncode == 0 or any(text in seen.stderr for text in _NOT_SEEN):
        raise UserError(not_seen(folder))
    raise UserError(not_started(image, seen.stderr))


def not_started(image: str, message: str) -> str:
    """The sentence for a container that could not be started, from docker's message."""
    if "no space left on device" in message:
        return "the Docker engine has no disk space left; free some (`docker system df` shows what Docker keeps)"
    return (
        f"a container of {image} cannot be started ({_reason(message)}); fix that, and check `docker run --rm {image} "
        "true`"
    )


#: Messages of docker, Docker Desktop, and `cat` in a container.
_NOT_SEEN = ("bind source path does not exist", "ounts denied", "not shared from", "No such file or directory")


def not_seen(folder: Path) -> str:
    """The sentence for a folder that the engine does not see."""
    return (
        f"the Docker engine does not see this machine's folder {folder} (it runs elsewhere, or is Docker from snap); "
        "set TMPDIR to a folder below your home that it sees, and keep the data there"
    )


def unseen_mount(message: str) -> str | None:
    """The sentence for docker's message about a mount that it does not see; None for other messages."""
    found = re.search(r"bind source path does not exist: (.+?)\.?$|path (\S+) is not shared", message, re.MULTILINE)
    return not_seen(Path(found[1] or found[2])) if found else None


def delete_tree(directory: Path, image: str) -> None:
    """Delete a folder, including files that containers wrote as root."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        mount = bind_mount(directory, "/leftovers", is_writable=True)
        _docker("run", "--rm", studio.network(), mount, image, "find", "/leftovers", "-mindepth", "1", "-delete")
        shutil.rmtree(directory)


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the docker command. If it does not end in time, the exit code is NO_ANSWER, with a sentence on stderr."""
    words = ["docker", *arguments]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        message = f"`docker {arguments[0]}` has not ended after {_ANSWER_SECONDS} s"
        return subprocess.CompletedProcess(words, NO_ANSWER, "", message)


def _answered(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The result of a docker command. Raises UserError if there is none."""
    if done.returncode == NO_ANSWER:
        raise UserError(_unreachable(done.stderr))
    return done
