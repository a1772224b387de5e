"""Measures `serve` against other servers of the same model (servers.py), in turn: texts/s, latency, CPU time, memory.

    python benchmarks/serve.py --clients 1 8 64
    python benchmarks/serve.py --clients 2 --texts 2000    # as batch transform sends a file
    python benchmarks/serve.py --clients 64 --load 0.8     # open loop, at this share of the rate of 64 clients

Needs the image's packages, but no network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import ROOT, corpus, sidelights, weights
from benchmarks.servers import NAMES, Server, kinds

DEMO = ROOT / "build" / "demo"
WARM_UP = 16


@dataclass(frozen=True)
class Result:
    """One server with a number of clients, each of which sends its next request when the last one is answered.

    With `load` requests come at random times instead, and latencies count from then.
    """

    server: str
    clients: int
    texts_per_request: int
    texts_per_second: float
    p50_ms: float
    p95_ms: float
    cpu_ms_per_text: float  #: of the server's process
    load: float = 0.0  #: share of the rate of the closed loop


def main(words: Sequence[str]) -> int:
    """Measure, print a table and write the results."""
    options = arguments(words)
    texts = list(
        corpus.snippets(DEMO / "train" / "reviews.tsv").texts if options.rows == "snippets" else corpus.made_up().texts
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        model = Path(name) / "model"
        weights.write(model, None if options.rows == "made-up" else DEMO / "model", options.shape)
        complete(model, options.tokens)
        servers: dict[str, Server] = {}
        try:
            for each, kind in kinds(options.tokens).items():
                if each in (options.servers or [each]):
                    servers[each] = Server(each, kind, Path(name), options.tokens)
            results = measure(servers, texts, options)
            report = {
                "about": sidelights.conditions(options.commit, packages=("torch", "transformers"))
                | {"model": options.shape or "the demo's", "rows": options.rows, "tokens": options.tokens},
                "serving": {
                    "seconds": options.seconds,
                    "rounds": options.rounds,
                    "start_seconds": {name: round(server.start_seconds, 2) for name, server in servers.items()},
                    "memory_mb": {name: round(server.memory_mb()) for name, server in servers.items()},
                    "results": [asdict(result) for result in results],
                },
            }
        finally:
            for server in servers.values():
                server.process.kill()
                server.process.wait()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    found = report["serving"]
    print(f"start to ready, s: {found['start_seconds']}; memory, MB: {found['memory_mb']}")
    print(f"wrote {options.output}")
    return 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/serve.py", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--texts", type=int, default=1, help="texts per request")
    parser.add_argument("--load", type=float, default=0.0, help="open loop, at this share of the closed loop's rate")
    parser.add_argument("--servers", nargs="+", choices=NAMES, help="(default: all)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128, help="maximum sequence length")
    parser.add_argument("--rows", choices=("snippets", "made-up"), default="snippets")
    parser.add_argument("--shape", choices=weights.SHAPES, help="use random weights of this shape")
    parser.add_argument("--commit", default="not given", help="commit to name in the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "serve.json")
    return parser.parse_args(words)


def complete(model: Path, tokens: int) -> None:
    """Give the model what a trained one has: the tokenizer's limit, and names of the classes (for infinity)."""
    names = {"id2label": {"0": "negative", "1": "positive"}, "label2id": {"negative": 0, "positive": 1}}
    for file, values in (("tokenizer_config.json", {"model_max_length": tokens}), ("config.json", names)):
        path = model / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))


def measure(servers: dict[str, Server], texts: Sequence[str], options: argparse.Namespace) -> list[Result]:
    """Print and return the median of the rounds, for each number of clients and each server."""
    results = []
    print(f"{'':>26} clients   load  texts/s   p50 ms   p95 ms  CPU-ms/text")
    for clients in options.clients:
        closed = [Run(server, texts, clients, options.texts, options.seconds) for server in servers.values()]
        for run in closed:
            replace(run, seconds=0.0).measure()
        rates = {}
        for result in _rounds(closed, options.rounds):
            results.append(result)
            rates[result.server] = result.texts_per_second
        if options.load:
            requests = {name: options.load * rate / options.texts for name, rate in rates.items()}
            opened = [replace(run, requests_per_second=requests[run.server.name]) for run in closed]
            results += [replace(result, load=options.load) for result in _rounds(opened, options.rounds)]
    return results


def _rounds(runs: Sequence[Run], rounds: int) -> Iterator[Result]:
    """The median of each run over the rounds, printed."""
    measured = [[run.measure() for run in runs] for _ in range(rounds)]
    for run, found in zip(runs, zip(*measured, strict=True), strict=True):
        figures = ("texts_per_second", "p50_ms", "p95_ms", "cpu_ms_per_text")
        medians = {figure: round(statistics.median(getattr(each, figure) for each in found), 2) for figure in figures}
        loop = "open" if run.requests_per_second else "closed"
        columns = " ".join(f"{value:8.1f}" for value in medians.values())
        print(f"{run.server.name:>26} {run.clients:7d} {loop:>6} {columns}", flush=True)
        yield Result(run.server.name, run.clients, run.texts_per_request, **medians)


@dataclass(frozen=True)
class Run:
    """A load on a server: each client sends a request at once after an answer, or at random times at a rate of all."""

    server: Server
    texts: Sequence[str]
    clients: int
    texts_per_request: int
    seconds: float
    requests_per_second: float = 0.0  #: 0: a closed loop

    def measure(self) -> Result:
        """Load the server for the time. Each client sends at least one request."""
        latencies: list[float] = []
        errors: list[BaseException] = []
        cpu, started = self.server.cpu_seconds(), time.monotonic()
        moments = self._moments(started)
        choosing = threading.Lock()
        batches = itertools.count()

        def client() -> None:
            try:
                with closing(self.server.connect()) as connection:
                    while True:
                        with choosing:
                            begun, number = next(moments), next(batches)
                        time.sleep(max(0.0, begun - time.monotonic()))
                        self.server.ask(connection, self._batch(number))
                        latencies.append(time.monotonic() - begun)
                        if time.monotonic() - started > self.seconds:
                            return
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=client) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        passed, count = time.monotonic() - started, len(latencies) * self.texts_per_request
        ordered = sorted(1e3 * latency for latency in latencies)
        return Result(
            self.server.name, self.clients, self.texts_per_request, count / passed, ordered[len(ordered) // 2],
            ordered[int(0.95 * len(ordered))], 1e3 * (self.server.cpu_seconds() - cpu) / count,
        )  # fmt: skip

    def _moments(self, moment: float) -> Iterator[float]:
        """When requests are sent."""
        chance = random.Random(0)
        while True:
            if self.requests_per_second:
                moment += chance.expovariate(self.requests_per_second)
                yield moment
            else:
                yield time.monotonic()

    def _batch(self, number: int) -> list[str]:
        first = number * self.texts_per_request
        return [self.texts[(first + each) % len(self.texts)] for each in range(self.texts_per_request)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
