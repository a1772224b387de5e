"""A real registry on loopback, moto for AWS, and a small checkout whose image builds in a second.

Each process of the tests has registries and an image of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from support import ROOT

IMAGE = f"push-test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}:local"
REGION = "us-east-1"
ECR_HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"  # moto's account

# The htpasswd line for moto's password for that registry, 123456789012-auth-token.
MOTO_LOGIN = "AWS:$2b$05$abcdefghijklmnopqrstuu/4ofrUS75HrKu6f.iuRo0I/XlrmpqlC\n"

DOCKERFILE = """\
ARG BASE_IMAGE=example/base:1
FROM scratch AS runtime
COPY content /
ARG BASE_IMAGE
ARG REVISION=unknown
ARG LOCK
ARG VERSIONS
LABEL org.opencontainers.image.title="push-test" \\
      org.opencontainers.image.base.name="${BASE_IMAGE}" \\
      org.opencontainers.image.revision="${REVISION}"
"""


@dataclass(frozen=True)
class Registry:
    """A docker-registry on loopback."""

    host: str

    def manifest(self, repository: str, reference: str) -> tuple[str, str, dict]:
        """The media type, the digest and the content of a manifest."""
        accept = "application/vnd.docker.distribution.manifest.v2+json"
        request = urllib.request.Request(
            f"http://{self.host}/v2/{repository}/manifests/{reference}", headers={"Accept": accept}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            headers = answer.headers
            return headers["Content-Type"], headers["Docker-Content-Digest"], json.load(answer)

    def put_manifest(self, repository: str, tag: str, media_type: str, manifest: dict) -> None:
        request = urllib.request.Request(
            f"http://{self.host}/v2/{repository}/manifests/{tag}",
            data=json.dumps({**manifest, "mediaType": media_type}).encode(),
            headers={"Content-Type": media_type},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=10).close()

    def tags(self, repository: str) -> list[str]:
        with urllib.request.urlopen(f"http://{self.host}/v2/{repository}/tags/list", timeout=10) as answer:
            return json.load(answer)["tags"]


@dataclass(frozen=True)
class Checkout:
    """A git checkout with build_and_push.sh in it."""

    path: Path
    environment: dict[str, str]

    def script(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./build_and_push.sh", *arguments],
            cwd=self.path,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def build(self, **environment: str) -> None:
        built = self.script("build", "--image", IMAGE, **{"BASE_IMAGE": "example/base:1", **environment})
        assert built.returncode == 0, built.stderr

    def push(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.script("push", "--image", IMAGE, *arguments, **environment)

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """A user's mistake: nothing on stdout, exit code 1, one line on stderr with these parts."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def closed_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def registry_binary() -> str:
    """Debian's docker-registry, unpacked rather than installed: its service would occupy port 5000."""
    found = shutil.which("docker-registry")
    if found:
        return found
    directory = ROOT / "build" / "docker-registry"
    binary = directory / "usr" / "bin" / "docker-registry"
    if binary.exists():
        return str(binary)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # by one process of the tests
        if not binary.exists():
            _unpack_registry(directory)
    if not binary.exists():
        pytest.fail("The push tests need Debian's package docker-registry: install it (apt-get install).")
    return str(binary)


def _unpack_registry(directory: Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
    subprocess.run(["apt-get", "download", "docker-registry"], cwd=directory, check=False)
    for package in directory.glob("docker-registry_*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package.name, "."], cwd=directory, check=True)
        package.unlink()


def serve(binary: str, directory: Path, login: str | None = None) -> Iterator[Registry]:
    host = f"127.0.0.1:{free_port()}"
    config = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {"addr": host},
    }
    if login:
        (directory / "htpasswd").write_text(login)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(config))
    log = directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [binary, "serve", str(directory / "config.yml")], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_answers(host, process, log)
        yield Registry(host)
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_until_answers(host: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=2).close()
            return
        except urllib.error.HTTPError:
            return  # 401: a login is required
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"docker-registry did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def registry(registry_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without authentication."""
    yield from serve(registry_binary, tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def login_registry(registry_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that accepts only the login of moto's ECR."""
    yield from serve(registry_binary, tmp_path_factory.mktemp("login-registry"), MOTO_LOGIN)


@pytest.fixture(scope="session")
def engine_host() -> str:
    """The address of the engine, for checkouts, whose home has no docker contexts."""
    return docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the images of all test processes, once they have ended."""
    if hasattr(session.config, "workerinput"):
        return
    images = docker("image", "ls", "--quiet", "--filter", "label=org.opencontainers.image.title=push-test")
    if images:
        docker("image", "rm", "--force", *sorted(set(images.split())))


@pytest.fixture
def environment(tmp_path: Path, engine_host: str) -> dict[str, str]:
    """An environment without the user's home, AWS configuration and proxy."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DOCKER_HOST": engine_host,
        "PYTHON": sys.executable,
        "AWS_EC2_METADATA_DISABLED": "true",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "test@example.com" for who in ("AUTHOR", "COMMITTER")},
    }


@pytest.fixture
def checkout(tmp_path: Path, environment: dict[str, str]) -> Checkout:
    path = tmp_path / "checkout"
    path.mkdir()
    shutil.copy(ROOT / "build_and_push.sh", path)
    shutil.copy(ROOT / ".gitignore", path)
    for package in ("launcher", "code", "aws"):
        shutil.copytree(ROOT / package, path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (path / "docker").mkdir()
    (path / "docker" / "Dockerfile").write_text(DOCKERFILE)
    (path / "docker" / "requirements.lock").write_text("torch==1.0 \\\n")
    (path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (path / "content").write_text(str(tmp_path))  # each checkout has different content, hence a different image
    made = Checkout(path, environment)
    made.git("init", "--quiet")
    made.commit()
    return made


@pytest.fixture
def aws(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Environment variables that replace AWS with an empty moto."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=10).close()
    yield {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
    }
    server.stop()


@pytest.fixture
def docker_for_ecr(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], tuple[str, Path]]:
    """Create a PATH whose `docker` uses a registry on loopback as ECR's host, and a log of its arguments.

    moto's host does not exist. Everything else is real: login, push and manifest go to docker.
    """

    def make(loopback: str) -> tuple[str, Path]:
        directory = tmp_path / "bin"
        directory.mkdir()
        log = tmp_path / "docker.log"
        wrapper = directory / "docker"
        wrapper.write_text(
            "#!/usr/bin/env bash\n"
            f"printf '%s\\n' \"$*\" >>{log}\n"
            f'arguments=("${{@//{ECR_HOST}/{loopback}}}")\n'
            '[[ "$1 $2" != "manifest inspect" ]] || arguments+=(--insecure)\n'
            f'exec {shutil.which("docker")} "${{arguments[@]}}"\n'
        )
        wrapper.chmod(0o755)
        return f"{directory}:{environment['PATH']}", log

    return make
