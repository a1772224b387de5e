"""Does the speed cost accuracy? Ours against Trainer with its defaults: the same rows, weights and number of steps,
pairs of runs that share a seed.

    python benchmarks/parity.py --output build/bench/parity.json

Ours is as fast as it comes (`precision=auto`, no padding); the other is H0 of the benchmark. Both are measured behind
their last epoch, on rows that neither was trained on. Exits with 1 when ours is more than half a point of accuracy
worse in the mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: the repository instead of this folder, whose modules go by their full names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from scipy import stats

from benchmarks import ROOT, corpus, weights
from benchmarks.clock import Clock
from benchmarks.contest import Task
from benchmarks.corpus import Rows
from benchmarks.ours import job_of
from benchmarks.run import DEMO, IMDB, Refusal, about, require_what_is_asked_for, set_environment
from benchmarks.trainers import TokenizedRows, TrainerDefaults
from benchmarks.worker import Worker
from text_classifier.runtime.stop import StopSignal

#: Points of accuracy, of 100, by which ours may be worse.
MARGIN = 0.5

TRAINING_ROWS = 4_000
MEASURED_ROWS = 2_000
LEARNING_RATE = 1e-4
WARMUP_RATIO = 0.06

#: Tokens of a row at most: as few as will do, for H0 pads to them in fp32.
TOKENS = {"snippets": 128, "imdb": 64}


def main(words: Sequence[str]) -> int:
    """Train all pairs. Exit codes: 0 as accurate, 1 not, 2 it cannot run."""
    options = arguments(words)
    try:
        data = {name: rows_of(name) for name in options.rows}
        require_what_is_asked_for(options)
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
    parser = argparse.ArgumentParser(prog="benchmarks/parity.py", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", nargs="+", choices=TOKENS, default=list(TOKENS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--model", type=Path, default=DEMO / "model", help="folder with weights and tokenizer")
    parser.add_argument("--threads", type=int, help="of each competitor (default: as many as torch chooses)")
    parser.add_argument("--commit", default="not given", help="what is measured, for the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "parity.json")
    parser.set_defaults(competitors=["H0", "ours"], shape=None)
    return parser.parse_args(words)


def rows_of(name: str) -> tuple[Rows, Rows]:
    """Rows to train on, and rows to measure on; no review of the snippets is on both sides. Raises Refusal."""
    file = IMDB if name == "imdb" else DEMO / "train" / "reviews.tsv"
    if not file.is_file():
        raise Refusal(f"{file} is missing; run `make bench-data` where there is a network")
    if name == "snippets":
        return corpus.snippets(file), corpus.snippets(DEMO / "validation" / "reviews.tsv")
    both = corpus.imdb(file).sample(TRAINING_ROWS + MEASURED_ROWS, seed=0)
    return both.take(range(TRAINING_ROWS)), both.take(range(TRAINING_ROWS, len(both)))


def pair(
    options: argparse.Namespace, tokens: int, seed: int, training: Rows, measured: Rows, ours: Worker, other: Worker
) -> tuple[float, float]:
    """Accuracy of ours and of H0, from weights with the same new head."""
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
    """What our job logs for its last epoch."""
    with job_of(task, training, measured, StopSignal()) as job:
        return job.train().epochs[-1]["accuracy"]


def accuracy_of_h0(task: Task, training: Rows, measured: Rows) -> float:
    """Trainer's own prediction behind its last step."""
    trainer = TrainerDefaults(task).trainer(training, Clock(task.device), per_device_eval_batch_size=128)
    trainer.train()
    collator: Any = trainer.data_collator
    logits: Any = trainer.predict(TokenizedRows(measured, collator.tokenizer, task.tokens)).predictions
    return float(np.mean(logits.argmax(axis=1) == np.asarray(measured.classes)))


def compare(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Mean difference in points, ours minus H0's, with the 95 % interval of Student's t over the pairs."""
    ours, other = (100 * np.array(column) for column in zip(*pairs, strict=True))
    interval = stats.ttest_rel(ours, other).confidence_interval(0.95) if len(pairs) > 1 else None
    return {
        "ours": ours.round(3).tolist(),
        "H0": other.round(3).tolist(),
        "mean_difference": float(np.mean(ours - other)),
        "interval": None if interval is None else [float(interval.low), float(interval.high)],
    }


def sentence(name: str, found: dict[str, Any]) -> str:
    """As it is printed."""
    interval = found["interval"]
    between = "" if interval is None else f" (95 % interval {interval[0]:+.2f} to {interval[1]:+.2f})"
    return (
        f"{name}: ours {np.mean(found['ours']):.2f} %, H0 {np.mean(found['H0']):.2f} %, "
        f"difference {found['mean_difference']:+.2f} points{between} over {len(found['ours'])} seeds"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
