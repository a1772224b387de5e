"""A hub on loopback: one that answers, and none at all."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from text_classifier.modeling import hub

CALL = """
import sys
sys.path.insert(0, sys.argv[1])
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling import hub
try:
    hub.require_answer(sys.argv[2])
except SettingsError as error:
    print(error)
"""


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def message_for(endpoint: str, name: str, cache: Path, **environment: str) -> str:
    """The message about a model name, from a new process: the hub's library reads the environment once."""
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "NO_PROXY": "*", **environment}
    command = [sys.executable, "-c", CALL, str(Path(hub.__file__).parents[2]), name]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_hub_that_does_not_answer_is_reported_soon(tmp_path: Path) -> None:
    started = time.monotonic()
    sentence = message_for("http://127.0.0.1:9", "some/model", tmp_path)
    assert time.monotonic() - started < 20
    assert sentence.startswith(
        "model_name='some/model' cannot be loaded from the hub: http://127.0.0.1:9 does not answer"
    )
    assert sentence.endswith("give the job network access to it, or a `model` channel\n")


@pytest.mark.parametrize("name", ["some/model", "not/a/name at all", "x" * 300])
def test_any_answer_is_left_to_transformers(endpoint: str, name: str, tmp_path: Path) -> None:
    assert message_for(endpoint, name, tmp_path) == ""


def test_a_local_model_needs_no_hub(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--some--model"
    (cached / "snapshots" / "1").mkdir(parents=True)
    (cached / "snapshots" / "1" / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    assert message_for("http://127.0.0.1:9", "some/model", tmp_path) == ""
    assert message_for("http://127.0.0.1:9", str(tmp_path), tmp_path) == ""
    assert message_for("http://127.0.0.1:9", "other/model", tmp_path, HF_HUB_OFFLINE="1") == ""
