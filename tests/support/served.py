"""A model without torch for the tests of serve, its clients, and a running `serve`."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.serving.batching import Row
from text_classifier.serving.responses import Outputs
from text_classifier.tasks.registry import task_of
from text_classifier.tokenization.windows import Windows

CLASSES = ("negative", "neutral", "positive")


def outputs_of(
    task: str = "single_label", classes: Sequence[str] = CLASSES, temperature: float | None = 2.0
) -> Outputs:
    """The outputs of a model for a task."""
    return Outputs(task_of({"task": task, "label_separator": ","}), classes, temperature)


@dataclass
class WordModel:
    """Counts characters: the token ids of a text are those of its characters, and its logits follow from their sum."""

    outputs: Outputs = field(default_factory=outputs_of)
    max_length: int = 16
    longest_text: int = 16
    text_columns: tuple[str, ...] = ()
    pair_columns: tuple[str, ...] = ()
    patterns: Sequence[str] = ()
    is_padded: bool = False
    most_tokens: int = 4_096
    description: str = "a model of words"
    batches: list[list[Row]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)  #: batches after the warm-up wait for it

    def __post_init__(self) -> None:
        self.gate.set()

    def encode(self, texts: list[str]) -> tuple[list[list[int]], int, Windows | None]:
        rows = [[ord(each) % 64 for each in f"<{text}"[: self.max_length]] for text in texts]
        return rows, sum(len(text) >= self.max_length for text in texts), None

    def encode_to(
        self, texts: list[str], max_length: int | None, *, truncates: bool
    ) -> tuple[list[list[int]], Windows | None]:
        limit = min(max_length or self.max_length, self.max_length)
        for index, text in enumerate(texts):
            if not truncates and len(text) + 1 > limit:
                raise ValueError(index, len(text) + 1, limit)
        return [row[:limit] for row in self.encode(texts)[0]], None

    def logits(self, rows: Sequence[Row]) -> np.ndarray:
        if any(any(row) for row in rows):  # the warm-up's are zeros
            self.gate.wait()
            self.batches.append(list(rows))
        return np.array([logits_of(row, len(self.outputs.classes)) for row in rows], dtype=np.float32)


def logits_of(row: Row, count: int) -> list[float]:
    """Logits that tell rows apart."""
    return [np.sin(sum(row) + 7 * index) for index in range(count)]


@dataclass
class Served:
    """A running `serve`."""

    process: subprocess.Popen[str]
    port: int

    def connect(self, timeout: float = 30.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, type: str | None = None, timeout: float = 30.0
    ) -> tuple[int, bytes]:
        connection = self.connect(timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": type} if type else {})
            response = connection.getresponse()
            return response.status, response.read()

    def invoke(self, body: Any, timeout: float = 30.0) -> Any:
        """The answer to a JSON request."""
        status, content = self.request("POST", "/invocations", json.dumps(body).encode(), "application/json", timeout)
        assert status == 200, content
        return json.loads(content)

    def wait_until_ready(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if self.request("GET", "/ping")[0] == 200:
                    return
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "serve is not ready"
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal. Returns the exit code and the log."""
        self.process.send_signal(number)
        log, _ = self.process.communicate(timeout=60)
        return self.process.returncode, log


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(base: Path, **environment: str) -> Iterator[Served]:
    """`serve` as a process, with the model in `base`/model."""
    script = importlib.util.find_spec("serve")
    assert script is not None and script.origin is not None
    port = free_port()
    variables = os.environ | {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port)}
    variables |= {"OMP_NUM_THREADS": "1"} | environment
    process = subprocess.Popen(
        [sys.executable, script.origin], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield Served(process, port)
    finally:
        process.kill()
        process.communicate()
