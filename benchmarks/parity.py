"""Compares the accuracy of ours with that of Trainer with its defaults.

Runs come in pairs with the same seed, rows, weights and number of steps.

    python benchmarks/parity.py --output build/bench/parity.json

Ours runs with its defaults (`precision=auto`, no padding); the other is H0 of the speed benchmark. Both are evaluated
after the last epoch, on held-out rows. Exits with 1 if ours is on average more than half a point of accuracy worse.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from scipy import stats

from benchmarks import ROOT, corpus, weights
from benchmarks.clock import Clock
from benchmarks.contest import Task
from benchmarks.corpus import Rows
from benchmarks.ours import job_of
from benchmarks.run import DEMO, IMDB, Refusal, about, require_packages_and_device, set_environment
from benchmarks.trainers import TokenizedRows, TrainerDefaults
from benchmarks.worker import Worker
from text_classifier.runtime.stop import StopSignal

#: Percentage points of accuracy by which ours may be worse.
MARGIN = 0.5

TRAINING_ROWS = 4_000
MEASURED_ROWS = 2_000
LEARNING_RATE = 1e-4
WARMUP_RATIO = 0.06

#: Maximum sequence lengths; short, to keep H0 fast in fp32.
TOKENS = {"snippets": 128, "imdb": 64}


def main(words: Sequence[str]) -> int:
    """Train all pairs. Exit codes: 0 ours is as accurate, 1 less accurate, 2 wrong use."""
    options = arguments(words)
    try:
        data = {name: rows_of(name) for name in options.rows}
        require_packages_and_device(options)
    except Refusal as refusal:
        print(f"parity: {refusal}", file=sys.stderr)
        return 2
    set_environment(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    log = options.output.with_suffix(".log")
    with Worker(log) as ours, Worker(log) as other:
        report: dict[str, Any] = {"about": about(options, options.model, ours), "epochs": options.epochs, "data": {}}
        for name, (training, measured) in data.items():
            pairs: list[tuple[float, float]] = []
            for seed in range(1, options.seeds + 1):
                pairs.append(pair(options, TOKENS[name], seed, training, measured, ours, other))
                print(f"{name}, seed {seed}: ours {pairs[-1][0]:.4f}, H0 {pairs[-1][1]:.4f}", flush=True)
                report["data"][name] = {"training_rows": len(training), "measured_rows": len(measured)} | compare(pairs)
                options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            print(sentence(name, report["data"][name]), flush=True)
    return 1 if any(found["mean_difference"] < -MARGIN for found in report["data"].values()) else 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return options_of_pairs("parity", __doc__, ["H0", "ours"], epochs=1).parse_args(words)


def options_of_pairs(name: str, description: str, competitors: list[str], epochs: int) -> argparse.ArgumentParser:
    """The options of a benchmark of pairs of runs, `benchmarks/<name>.py`, of these competitors."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=description.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", nargs="+", choices=TOKENS, default=list(TOKENS))
    parser.add_argument("--seeds", type=int, default=5, help="pairs of runs of each kind")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--model", type=Path, default=DEMO / "model", help="folder with weights and tokenizer")
    parser.add_argument("--threads", type=int, help="threads per competitor (default: torch's)")
    parser.add_argument("--commit", default="not given", help="commit to name in the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / f"{name}.json")
    parser.set_defaults(competitors=competitors, shape=None, only_avx2=False)
    return parser


def rows_of(name: str) -> tuple[Rows, Rows]:
    """Training rows and held-out rows; snippets of one review are never in both. Raises Refusal."""
    file = IMDB if name == "imdb" else DEMO / "train" / "reviews.tsv"
    if not file.is_file():
        raise Refusal(f"{file} is missing; run `make bench-data` on a machine with a network")
    if name == "snippets":
        return corpus.snippets(file), corpus.snippets(DEMO / "validation" / "reviews.tsv")
    both = corpus.imdb(file).sample(TRAINING_ROWS + MEASURED_ROWS, seed=0)
    return both.take(range(TRAINING_ROWS)), both.take(range(TRAINING_ROWS, len(both)))


def pair(
    options: argparse.Namespace, tokens: int, seed: int, training: Rows, measured: Rows, ours: Worker, other: Worker
) -> tuple[float, float]:
    """Accuracy of ours and of H0, starting from the same weights."""
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        task = Task(
            Path(name) / "model",
            tokens,
            batch_size=32,
            device=options.device,
            epochs=options.epochs,
            learning_rate=LEARNING_RATE,
            warmup_ratio=WARMUP_RATIO,
            seed=seed,
        )
        ours.call(weights.write, task.model, options.model, options.shape, seed)
        return ours.call(accuracy_of_ours, task, training, measured), other.call(
            accuracy_of_h0, task, training, measured
        )


def accuracy_of_ours(task: Task, training: Rows, measured: Rows) -> float:
    """The accuracy that our job logs for its last epoch."""
    with job_of(task, training, measured, StopSignal()) as job:
        return job.train().evaluations[-1]["accuracy"]


def accuracy_of_h0(task: Task, training: Rows, measured: Rows) -> float:
    """The accuracy of Trainer.predict() after the last step."""
    trainer = TrainerDefaults(task).trainer(training, Clock(task.device), per_device_eval_batch_size=128)
    trainer.train()
    collator: Any = trainer.data_collator
    logits: Any = trainer.predict(TokenizedRows(measured, collator.tokenizer, task.tokens)).predictions
    return float(np.mean(logits.argmax(axis=1) == np.asarray(measured.classes)))


def compare(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Mean difference in percentage points, ours minus H0, with its interval."""
    ours, other = (100 * np.array(column) for column in zip(*pairs, strict=True))
    return {"ours": ours.round(3).tolist(), "H0": other.round(3).tolist(), **difference(ours, other)}


def difference(values: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Mean of values minus others, with the 95 % t interval over the pairs; null for a single pair."""
    mean = float(np.mean(values - others))
    if len(values) < 2:
        return {"mean_difference": mean, "interval": None}
    if np.ptp(values - others) == 0:  # a t interval would be undefined
        return {"mean_difference": mean, "interval": [mean, mean]}
    interval = stats.ttest_rel(values, others).confidence_interval(0.95)
    return {"mean_difference": mean, "interval": [float(interval.low), float(interval.high)]}


def sentence(name: str, found: dict[str, Any]) -> str:
    """The comparison in one sentence."""
    interval = found["interval"]
    between = "" if interval is None else f" (95 % interval {interval[0]:+.2f} to {interval[1]:+.2f})"
    return (
        f"{name}: ours {np.mean(found['ours']):.2f} %, H0 {np.mean(found['H0']):.2f} %, "
        f"difference {found['mean_difference']:+.2f} points{between} over {len(found['ours'])} seeds"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
