"""Measures `serve` against transformers' pipeline behind the same web server, in turn: texts/s, latency, CPU time.

    python benchmarks/serve.py --clients 1 8 64

Needs the image's packages, but no network. Each server is a process of its own; both have the same model, texts and
threads, and cut texts at the same number of tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psutil

from benchmarks import ROOT, corpus, weights
from text_classifier.runtime.cpus import thread_variables

DEMO = ROOT / "build" / "demo"
SERVERS = ("ours", "pipeline", "pipeline, batches of 32")
WARM_UP = 16


@dataclass(frozen=True)
class Result:
    """One server with a number of clients, each of which sends its next request when the last one is answered."""

    server: str
    clients: int
    texts_per_request: int
    texts_per_second: float
    p50_ms: float
    p95_ms: float
    cpu_ms_per_text: float  #: of the server's process


def main(words: Sequence[str]) -> int:
    """Measure, print a table and write the results."""
    options = arguments(words)
    if options.pipeline:
        return serve_pipeline(options)
    texts = list(
        corpus.snippets(DEMO / "train" / "reviews.tsv").texts if options.rows == "snippets" else corpus.made_up().texts
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        model = Path(name) / "model"
        weights.write(model, None if options.rows == "made-up" else DEMO / "model", options.shape)
        shorten(model, options.tokens)
        servers = {server: Server(server, Path(name), options) for server in SERVERS}
        try:
            results = measure(servers, texts, options)
            report = {
                "commit": options.commit,
                "processor": processor(),
                "options": {name: getattr(options, name) for name in ("tokens", "rows", "shape", "seconds", "rounds")},
                "start_seconds": {name: round(server.start_seconds, 2) for name, server in servers.items()},
                "resident_mb": {name: round(server.resident_mb()) for name, server in servers.items()},
                "results": [asdict(result) for result in results],
            }
        finally:
            for server in servers.values():
                server.process.kill()
                server.process.wait()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"start to ready, s: {report['start_seconds']}; resident, MB: {report['resident_mb']}")
    print(f"wrote {options.output}")
    return 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/serve.py", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--texts", type=int, default=1, help="texts per request")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128, help="maximum sequence length")
    parser.add_argument("--rows", choices=("snippets", "made-up"), default="snippets")
    parser.add_argument("--shape", choices=weights.SHAPES, help="use random weights of this shape")
    parser.add_argument("--commit", default="not given", help="commit to name in the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "serve.json")
    parser.add_argument("--pipeline", type=Path, help=argparse.SUPPRESS)  # the model of a server that this one starts
    parser.add_argument("--batch-size", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=8080, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def shorten(model: Path, tokens: int) -> None:
    """Make the tokenizer's limit that of the benchmark, as a trained model's is."""
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": tokens}))


def processor() -> str:
    """The processor's name and the CPUs that may be used."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {len(os.sched_getaffinity(0))} CPUs"


class Server:
    """A server in a process of its own, once it is ready."""

    def __init__(self, name: str, base: Path, options: argparse.Namespace) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.name = name
        if name == "ours":
            script = importlib.util.find_spec("serve")
            assert script is not None and script.origin is not None
            command = [script.origin]
        else:
            batch_size = "32" if "32" in name else "1"
            command = [__file__, f"--pipeline={base / 'model'}", f"--batch-size={batch_size}", f"--port={self.port}"]
            command.append(f"--tokens={options.tokens}")
        variables = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(self.port), "HF_HUB_OFFLINE": "1"}
        path = os.pathsep.join([str(ROOT / "code"), os.environ.get("PYTHONPATH", "")])
        started = time.monotonic()
        environment = thread_variables() | os.environ | {"PYTHONPATH": path} | variables
        self.process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
        while not self._is_ready():
            assert self.process.poll() is None, f"{name} has ended"
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - started

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        with closing(connection):
            try:
                connection.request("GET", "/ping")
                return connection.getresponse().status == 200
            except OSError:
                return False

    def cpu_seconds(self) -> float:
        """CPU time of the process since its start."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def resident_mb(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)


def measure(servers: dict[str, Server], texts: Sequence[str], options: argparse.Namespace) -> list[Result]:
    """Print and return the median of the rounds, for each number of clients and each server."""
    results = []
    print(f"{'':>26} clients  texts/s   p50 ms   p95 ms  CPU-ms/text")
    for clients in options.clients:
        rounds: dict[str, list[Result]] = {name: [] for name in servers}
        for server in servers.values():
            load(server, texts[:WARM_UP], clients, options.texts, 0.0)
        for _ in range(options.rounds):
            for server in servers.values():
                rounds[server.name].append(load(server, texts, clients, options.texts, options.seconds))
        for name, each in rounds.items():
            figures = ("texts_per_second", "p50_ms", "p95_ms", "cpu_ms_per_text")
            medians = {figure: round(statistics.median(getattr(r, figure) for r in each), 2) for figure in figures}
            results.append(Result(name, clients, options.texts, **medians))
            print(f"{name:>26} {clients:7d} " + " ".join(f"{value:8.1f}" for value in medians.values()), flush=True)
    return results


def load(server: Server, texts: Sequence[str], clients: int, texts_per_request: int, seconds: float) -> Result:
    """Load a server with a number of clients. Each sends at least one request."""
    latencies: list[float] = []
    errors: list[BaseException] = []
    cpu, started = server.cpu_seconds(), time.monotonic()

    def client(number: int) -> None:
        at = number * texts_per_request
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        try:
            with closing(connection):
                while True:
                    sent = [texts[(at + each) % len(texts)] for each in range(texts_per_request)]
                    at += clients * texts_per_request
                    begun = time.monotonic()
                    body = json.dumps({"inputs": sent}).encode()
                    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    answers = json.loads(response.read())
                    assert response.status == 200 and len(answers) == len(sent), answers
                    latencies.append(time.monotonic() - begun)
                    if time.monotonic() - started > seconds:
                        return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    passed, count = time.monotonic() - started, len(latencies) * texts_per_request
    ordered = sorted(1e3 * latency for latency in latencies)
    return Result(
        server.name, clients, texts_per_request, count / passed, ordered[len(ordered) // 2],
        ordered[int(0.95 * len(ordered))], 1e3 * (server.cpu_seconds() - cpu) / count,
    )  # fmt: skip


def serve_pipeline(options: argparse.Namespace) -> int:
    """Serve transformers' pipeline as Hugging Face's toolkit calls it: a request at a time, in its own batches."""
    import uvicorn
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(options.pipeline))
    calls = asyncio.Lock()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        answer = b""
        if body:
            inputs = json.loads(body)["inputs"]
            async with calls:
                found = await asyncio.to_thread(
                    classify, inputs, truncation=True, max_length=options.tokens, batch_size=options.batch_size
                )
            answer = json.dumps(found).encode()
        headers = [(b"content-length", str(len(answer)).encode()), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(
        application, host="127.0.0.1", port=options.port, loop="asyncio", http="h11", lifespan="off",
        log_level="critical", access_log=False,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
