"""The competitors side by side, round by round, and the summary of their measurements."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import figures, sidelights, worker
from benchmarks.contest import Result, Task
from benchmarks.corpus import Rows
from benchmarks.sidelights import Speed
from benchmarks.worker import Worker


@dataclass
class Rounds:
    """The measurements: results by competitor, row lengths by round, and the speed of matmuls by dtype.

    `products` has one entry before the first run of a competitor and one after each run, in the order of the runs.
    """

    task: Task
    steps: int
    setups: dict[str, str] = field(default_factory=dict)
    tried: dict[str, dict[str, float]] = field(default_factory=dict)
    results: dict[str, list[Result]] = field(default_factory=dict)
    lengths: list[list[int]] = field(default_factory=list)
    products: list[dict[str, Speed]] = field(default_factory=list)


def compete(
    names: Sequence[str], task: Task, corpus: Rows, rounds: int, steps: int, observer: Worker, log: Path
) -> Rounds:
    """Train the same rows of `corpus` with each competitor in turn, `steps` batches per round.

    Before the first round each competitor warms up, and H* chooses its configuration with half a round of rows.
    """
    found = Rounds(task, steps)
    workers = {name: Worker(log) for name in names}
    trial = corpus.sample(task.batch_size * max(1, steps // 2), seed=0)
    for name, process in workers.items():
        print(f"{task.tokens} tokens: {name} warms up", flush=True)
        found.setups[name], found.tried[name] = process.call(worker.prepare, name, task, trial)
        found.results[name] = []
        for choice, seconds in found.tried[name].items():
            print(f"{task.tokens} tokens: {name} tried {choice}: {seconds:.2f} s", flush=True)
    found.products.append(observer.call(sidelights.products, task.device))
    for number in range(1, rounds + 1):
        rows = corpus.sample(task.batch_size * steps, seed=number)
        found.lengths.append(observer.call(sidelights.row_lengths, task, rows))
        for name, process in workers.items():
            result = process.call(worker.run, rows)
            print(f"{task.tokens} tokens, round {number} of {rounds}: {name} {result.seconds:.2f} s", flush=True)
            found.results[name].append(result)
            found.products.append(observer.call(sidelights.products, task.device))
    for process in workers.values():
        process.close()
    return found


def summarize(found: Rounds) -> dict[str, Any]:
    """The figures of all rounds, in the format of the results file."""
    products = {form: [speeds[form].usual for speeds in found.products] for form in found.products[0]}
    fastest = max(products, key=lambda form: statistics.median(products[form]))
    around = [statistics.mean(pair) for pair in pairwise(products[fastest])]  # of each run: mean of before and after
    best = max(speed.best for speeds in found.products for speed in speeds.values())
    geometry = figures.Geometry.of(json.loads((found.task.model / "config.json").read_text(encoding="utf-8")))
    flops = [sum(map(geometry.flops, lengths)) for lengths in found.lengths] if geometry else None

    def share(seconds: list[float], speeds: list[float]) -> dict[str, float] | None:
        """MFU by round, relative to these matmul speeds; None if the FLOPs are unknown."""
        if flops is None:
            return None
        return asdict(figures.rates([work / speed for work, speed in zip(flops, speeds, strict=True)], seconds))

    own = [result.seconds for result in found.results.get("ours", [])]
    own_cpu = [result.cpu_seconds for result in found.results.get("ours", [])]
    competitors = {}
    for place, (name, results) in enumerate(found.results.items()):
        seconds = [result.seconds for result in results]
        cpu_seconds = [result.cpu_seconds for result in results]
        computed = [result.tokens_computed for result in results if result.tokens_computed is not None]
        real = [sum(lengths) for lengths in found.lengths]
        competitors[name] = {
            "setup": found.setups[name],
            "tried_seconds": found.tried[name],
            "seconds": seconds,
            "against_ours": asdict(figures.ratios(seconds, own)) if own else None,
            "cpu_seconds": cpu_seconds,
            "cpu_against_ours": asdict(figures.ratios(cpu_seconds, own_cpu)) if own else None,
            "sequences_per_second": asdict(figures.rates([len(lengths) for lengths in found.lengths], seconds)),
            "real_tokens_per_second": asdict(figures.rates(real, seconds)),
            "computed_to_real_tokens": sum(computed) / sum(real) if len(computed) == len(real) else None,
            "mfu": share(seconds, around[place :: len(found.results)]),
            "mfu_of_best_product": share(seconds, [best] * len(seconds)),
            "peak_bytes": max(result.peak_bytes for result in results),
        }
    return {
        "tokens": found.task.tokens,
        "batch_size": found.task.batch_size,
        "rounds": len(found.lengths),
        "steps": found.steps,
        "flops_per_second": products | {"best": best},
        "competitors": competitors,
    }
