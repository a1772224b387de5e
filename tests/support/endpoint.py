"""`serve` in a container of the built image."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker.models.containers import Container

import docker
from support.containers import IMAGE, INSIDE, LABELS


class Endpoint:
    """A container that serves."""

    def __init__(self, container: Container, port: int) -> None:
        self.container = container
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        self.address = f"http://{next(iter(networks.values()))['IPAddress']}:{port}"

    def send(self, path: str, body: bytes | None = None, type: str = "application/json") -> bytes:
        """The body of an answer with status 200."""
        request = urllib.request.Request(self.address + path, body, {"Content-Type": type})
        with urllib.request.urlopen(request, timeout=30) as response:
            return bytes(response.read())

    def respond(self, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to a JSON request."""
        try:
            return 200, self.send("/invocations", body)
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):  # HTTPError too: not ready yet
                assert self.send("/ping") == b""
                return
            self.container.reload()
            assert self.container.status == "running", self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        return self.container.logs().decode()


@contextlib.contextmanager
def endpoint(model: Path, port: int = 8080, **options: Any) -> Iterator[Endpoint]:
    volumes = {str(model): {"bind": f"{INSIDE}/model", "mode": "ro"}}
    environment = {"OMP_NUM_THREADS": "1"} | options.pop("environment", {})
    container = docker.from_env().containers.run(
        IMAGE, ["serve"], detach=True, labels=LABELS, volumes=volumes, environment=environment, **options
    )
    try:
        yield Endpoint(container, port)
    finally:
        container.remove(force=True, v=True)
