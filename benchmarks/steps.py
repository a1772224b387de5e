"""Times whole training steps with all native operations, and with torch's own in place of each one.

    make bench-steps DEVICE=cuda

On a GPU a step is a CUDA graph, as in a job. Needs the image's packages and nothing else. README.md shows the results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import ROOT

SHAPES = ("minilm", "distilbert-base")
#: Name, rows per step, and tokens of the shortest and the longest row.
BATCHES = {
    "cpu": (("short texts", 32, 8, 36), ("128 tokens", 32, 128, 128)),
    "cuda": (
        ("short texts", 32, 8, 36), ("128 tokens", 32, 128, 128), ("short texts", 256, 8, 36),
        ("128 tokens", 256, 128, 128), ("512 tokens", 32, 512, 512),
    ),
}  # fmt: skip
#: Of each round and variant. The variants take turns.
STEPS = {"cpu": 1, "cuda": 30}
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/steps.py", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--commit", default="not given", help="commit to name in the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "steps.json")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "code"))
    from benchmarks import sidelights

    if options.device == "cuda" and not sidelights.has_gpu():
        parser.error("--device cuda: torch finds no GPU; use --device cpu")
    report = {"about": sidelights.conditions(options.commit, options.device), "steps": list(measure(options.device))}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.output}")


def measure(device: str) -> Iterator[dict[str, Any]]:
    """Milliseconds of a step by what is in plain torch: nothing, one operation, all. Prints each result."""
    import torch

    if device == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream())  # as in a job (training/device.py)
    for shape in SHAPES:
        for name, rows, shortest, longest in BATCHES[device]:
            natives, takers = variants(torch.device(device), shape, rows, shortest, longest)
            found = {
                "model": shape, "batch": f"{rows} rows, {name}", "native_operations": natives,
                "milliseconds": {variant: round(1e3 * taken, 4) for variant, taken in timed(takers, device).items()},
            }  # fmt: skip
            print(json.dumps(found), flush=True)
            yield found
            takers.clear()
            if device == "cuda":
                torch.cuda.empty_cache()


def variants(
    device: Any, shape: str, rows: int, shortest: int, longest: int
) -> tuple[dict[str, str], dict[str, Callable[[], Any]]]:
    """The native operations with their libraries, and what takes a step, by the operation that is torch's own."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification

    from benchmarks import sidelights
    from benchmarks.ops import torchs_own
    from benchmarks.weights import SHAPES as CONFIGS
    from text_classifier.contract.hyperparameters import Settings
    from text_classifier.modeling.load import make_classifier
    from text_classifier.modeling.precision import Precision
    from text_classifier.ops.backend import OPERATIONS, TORCH
    from text_classifier.tasks.single_label import SingleLabel
    from text_classifier.tokenization.tokens import Tokens
    from text_classifier.training.batches import Split, collate
    from text_classifier.training.losses import row_losses
    from text_classifier.training.optimizer import adamw
    from text_classifier.training.step import GraphedStep, Step

    random = np.random.default_rng(1)
    lengths = np.sort(random.integers(shortest, longest + 1, rows))[::-1]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = Tokens(random.integers(5, CONFIGS[shape].vocab_size, offsets[-1]).astype(np.int32), offsets)
    split = Split(tokens, random.integers(0, 2, rows))
    precision = Precision("bf16" if sidelights.has_16_bits(device.type) else "fp32", device)

    def taker(choose: Callable[[Any], Any]) -> tuple[Callable[[], Any], Any]:
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(CONFIGS[shape]).to(device)
        classifier: Any = make_classifier(model, 0, precision, (longest,)).train()
        classifier.ops = choose(classifier.ops)
        optimizer, rates = adamw(classifier, Settings(learning_rate=1e-5))
        step = Step(
            classifier, row_losses(SingleLabel(), Settings()), optimizer, classifier.precision.loss_scale(),
            max_grad_norm=1.0,
        )  # fmt: skip
        take: Callable[[Any], Any] = GraphedStep(step, device) if device.type == "cuda" else step

        def once() -> None:
            rates.set(1e-5)
            take(collate(classifier, split, np.arange(rows), rows))

        return once, classifier.ops

    take, ops = taker(lambda ops: ops)
    natives = {name: ops.names[name] for name in OPERATIONS if ops.names[name] != TORCH}
    torchs = torchs_own(ops.fallback or ops)
    takers = {"native": take}
    for name in natives:
        takers[name], _ = taker(lambda ops, name=name: replace(ops, **{name: getattr(torchs, name)}))  # type: ignore[misc]
    takers["torch"], _ = taker(lambda _: torchs)
    return natives, takers


def timed(takers: dict[str, Callable[[], Any]], device: str) -> dict[str, float]:
    """Seconds of a step of each: the median of the rounds, in each of which all take their turn."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    for take in takers.values():
        for _ in range(3):  # on a GPU: the first as it is, the second captured, the third a replay
            take()
    for _ in range(ROUNDS):
        for name, take in takers.items():
            wait()
            started = time.perf_counter()
            for _ in range(STEPS[device]):
                take()
            wait()
            seconds[name].append((time.perf_counter() - started) / STEPS[device])
    return {name: statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
