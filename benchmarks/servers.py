"""The servers that serve.py compares: how each is started, asked and answers. All cut texts at the same length.

    python benchmarks/servers.py pipeline --model FOLDER --port 8080

serves transformers' pipeline, or Hugging Face's SageMaker toolkit, behind the web server that ours has too.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import ROOT

#: The toolkit's packages (make test-container) and infinity's (make bench-serve); neither goes with the image's own.
TOOLKIT = ROOT / "build" / "serving" / "packages"
INFINITY = ROOT / "build" / "bench" / "infinity"

NAMES = ("ours", "toolkit", "pipeline", "pipeline, batches of 32", "infinity")

HANDLER = "sagemaker_huggingface_inference_toolkit.handler_service"

#: Classifies the "inputs" of a request.
Classify = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Kind:
    """A sort of server. `body` makes a request of texts; `count` counts the answers."""

    path: str
    body: Callable[[Sequence[str]], dict[str, Any]]
    count: Callable[[Any], int] = len
    packages: Path | None = None  #: first on its path
    ready: str = "/ping"


def kinds(tokens: int) -> dict[str, Kind]:
    """The servers by name; those whose packages are not installed are left out, with a line that says so."""
    cut = {"truncation": True, "max_length": tokens}
    own = Kind("/invocations", lambda texts: {"inputs": texts})
    found = {
        "ours": own,
        "toolkit": Kind("/invocations", lambda texts: {"inputs": texts, "parameters": cut}, packages=TOOLKIT),
        "pipeline": own,
        "pipeline, batches of 32": own,
        "infinity": Kind(
            "/classify",
            lambda texts: {"model": "served", "input": texts},
            lambda answer: len(answer["data"]),
            packages=INFINITY,
            ready="/health",
        ),
    }
    for name, kind in list(found.items()):
        if kind.packages and not (kind.packages / ".installed").exists():
            print(f"{name} is left out: {kind.packages.relative_to(ROOT)} is not there; see the Makefile's bench-serve")
            del found[name]
    return found


class Server:
    """A server in a process of its own, once it is ready."""

    def __init__(self, name: str, kind: Kind, base: Path, tokens: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.name, self.kind = name, kind
        variables = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(self.port), "HF_HUB_OFFLINE": "1"}
        variables |= {"DO_NOT_TRACK": "1"}
        path = [str(ROOT / "code"), os.environ.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join([*([str(kind.packages)] if kind.packages else []), *path])
        # Here, as the packages of another server hide the image's.
        from text_classifier.runtime.cpus import thread_variables

        started = time.monotonic()
        command = [sys.executable, *_command(name, base / "model", self.port, tokens)]
        environment = thread_variables() | os.environ | variables
        # In a folder that is writable: infinity makes a cache there.
        self.process = subprocess.Popen(command, cwd=base, env=environment, stdout=subprocess.DEVNULL)
        while not self._is_ready():
            assert self.process.poll() is None, f"{name} has ended"
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - started

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        with closing(connection):
            try:
                connection.request("GET", self.kind.ready)
                return connection.getresponse().status == 200
            except OSError:
                return False

    def ask(self, connection: http.client.HTTPConnection, texts: Sequence[str]) -> None:
        """Send the texts in one request and read the answer, which must have one for each."""
        connection.request(
            "POST", self.kind.path, json.dumps(self.kind.body(texts)).encode(), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200 and self.kind.count(answer) == len(texts), answer

    def connect(self) -> http.client.HTTPConnection:
        """A connection, which is kept open between requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def cpu_seconds(self) -> float:
        """CPU time of the process since its start."""
        import psutil

        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def memory_mb(self) -> float:
        """Memory of its own, without what it shares with the other servers, such as libraries."""
        import psutil

        return float(psutil.Process(self.process.pid).memory_full_info().uss / 1e6)


def _command(name: str, model: Path, port: int, tokens: int) -> list[str]:
    """The arguments of Python that start a server."""
    if name == "ours":
        script = importlib.util.find_spec("serve")
        assert script is not None and script.origin is not None
        return [script.origin]
    if name == "infinity":
        options = ["--model-id", str(model), "--served-model-name", "served", "--port", str(port)]
        options += ["--host", "127.0.0.1", "--engine", "torch", "--device", "cpu", "--log-level", "critical"]
        return ["-c", "from infinity_emb.cli import cli; cli()", "v2", *options]
    batch_size = "32" if "32" in name else "1"
    kind = "toolkit" if name == "toolkit" else "pipeline"
    own = str(Path(__file__).resolve())
    return [own, kind, f"--model={model}", f"--port={port}", f"--tokens={tokens}", f"--batch-size={batch_size}"]


def main(words: Sequence[str]) -> int:
    """Serve one of the others."""
    parser = argparse.ArgumentParser(prog="benchmarks/servers.py", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("pipeline", "toolkit"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args(words)
    respond = _pipeline(options) if options.kind == "pipeline" else _toolkit(options.model)
    _serve(respond, options.port)
    return 0


def _pipeline(options: argparse.Namespace) -> Callable[[dict[str, Any]], Any]:
    """transformers' pipeline, as Hugging Face's toolkit calls it."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(options.model))
    cut = {"truncation": True, "max_length": options.tokens, "batch_size": options.batch_size}
    return lambda body: classify(body["inputs"], **cut)


def _toolkit(model: Path) -> Callable[[dict[str, Any]], Any]:
    """The handler of sagemaker-huggingface-inference-toolkit, in the Python part of its model server."""
    sys.path.insert(1, str(ROOT / "tests"))
    loaders, tests = importlib.import_module("mms.model_loader"), importlib.import_module("support.serve")
    service = loaders.ModelLoaderFactory.get_model_loader("").load("model", str(model), HANDLER, None, 1)
    return lambda body: tests.answer(service, body)


def _serve(respond: Callable[[dict[str, Any]], Any], port: int) -> None:
    """Answer one request at a time, as a worker of the toolkit does."""
    import uvicorn

    calls = asyncio.Lock()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        answer = b""
        if body:
            async with calls:
                answer = json.dumps(await asyncio.to_thread(respond, json.loads(body))).encode()
        headers = [(b"content-length", str(len(answer)).encode()), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(
        application, host="127.0.0.1", port=port, loop="asyncio", http="h11", lifespan="off", log_level="critical",
        access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
