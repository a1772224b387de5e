"""Measures what each learning setting brings: pairs of runs with and without it.

    python benchmarks/learning.py --seeds 5 --output build/bench/learning.json

The runs of a pair have the same rows, seed and first weights. A setting is tried on rows as they are, and on rows that
have the trouble it is meant for. Each run chooses its epoch on validation rows like its training rows, and is measured
on others, which have no trouble.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks import figures, weights
from benchmarks.contest import Task
from benchmarks.corpus import Rows
from benchmarks.ours import job_of
from benchmarks.parity import LEARNING_RATE, TOKENS, WARMUP_RATIO, difference, options_of_pairs, rows_of
from benchmarks.run import Refusal, about, require_packages_and_device, set_environment
from benchmarks.worker import Worker
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.inference import predict

#: Share of the rows that choose the epoch.
VALIDATION = 0.2
#: Share of the labels that are wrong in noisy rows, and of the rarer class in imbalanced ones.
WRONG, RARE = 0.2, 0.1
BATCH_SIZE = 16
#: Few rows are this share of the others.
FEW = 0.25


def noisy(rows: Rows, seed: int) -> Rows:
    """The rows, WRONG of the labels swapped."""
    swapped = set(random.Random(seed).sample(range(len(rows)), round(WRONG * len(rows))))
    return Rows(rows.texts, [label ^ (index in swapped) for index, label in enumerate(rows.classes)])


#: The troubles of training rows: from all rows of the data, how many to take, and a seed.
KINDS: Mapping[str, Callable[[Rows, int, int], Rows]] = {
    "plain": lambda rows, count, seed: rows.sample(count, seed),
    "noisy": lambda rows, count, seed: noisy(rows.sample(count, seed), seed),
    "imbalanced": lambda rows, count, seed: imbalanced(rows, count, seed),
    "few": lambda rows, count, seed: rows.sample(round(FEW * count), seed),
}


def imbalanced(rows: Rows, count: int, seed: int) -> Rows:
    """`count` rows, RARE of them of class 1, in random order."""
    rare = round(RARE * count)
    of_class = [rows.take([index for index, label in enumerate(rows.classes) if label == wanted]) for wanted in (0, 1)]
    common, few = of_class[0].sample(count - rare, seed), of_class[1].sample(rare, seed)
    return Rows([*common.texts, *few.texts], [*common.classes, *few.classes]).sample(count, seed)


@dataclass(frozen=True)
class Trial:
    """A setting, and the kinds of rows that it is tried on."""

    settings: Mapping[str, str]
    kinds: Sequence[str]
    data: Sequence[str] = tuple(TOKENS)  #: the data sets on which it can do anything

    @property
    def name(self) -> str:
        """As it is written in a job's hyperparameters."""
        return " ".join(f"{name}={value}" for name, value in self.settings.items())


TRIALS = (
    Trial({"label_smoothing": "0.1"}, ("plain", "noisy")),
    Trial({"focal_gamma": "2"}, ("plain", "imbalanced")),
    Trial({"class_weights": "balanced"}, ("plain", "imbalanced")),
    Trial({"class_weights": "effective"}, ("imbalanced",)),
    Trial({"layerwise_lr_decay": "0.9"}, ("plain", "few")),
    Trial({"freeze_layers": "2"}, ("plain", "few")),
    Trial({"lr_scheduler": "cosine"}, ("plain",)),
    Trial({"lr_scheduler": "constant"}, ("plain",)),
    Trial({"early_stopping_patience": "1"}, ("plain", "noisy")),
    Trial({"truncation": "head_tail"}, ("plain",), ("imdb",)),
    Trial({"long_texts": "mean"}, ("plain",), ("imdb",)),
)


@dataclass(frozen=True)
class Outcome:
    """One run. `recall_macro` in percent: with any share of the classes among the measured rows it is the same."""

    recall_macro: float
    log_loss: float
    steps: int
    seconds: float


def main(words: Sequence[str]) -> int:
    """Train all pairs. Exit codes: 0 done, 2 wrong use."""
    options = arguments(words)
    try:
        data = {name: rows_of(name) for name in options.rows}
        require_packages_and_device(options)
    except Refusal as refusal:
        print(f"learning: {refusal}", file=sys.stderr)
        return 2
    set_environment(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    trials = [trial for trial in TRIALS if not options.settings or set(options.settings) & {*trial.settings}]
    started = time.monotonic()
    with Worker(options.output.with_suffix(".log")) as worker:
        report: dict[str, Any] = {
            "about": about(options, options.model, worker),
            "epochs": options.epochs,
            "batch_size": BATCH_SIZE,
            "learning": [],
        }
        for name, (training, measured) in data.items():
            some = measured.sample(min(options.measured_rows, len(measured)), seed=0)
            for kind in options.kinds:
                chosen = [t for t in trials if name in t.data and kind in t.kinds]
                if chosen:
                    report["learning"] += compare(options, worker, name, kind, training, some, chosen)
                    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(figures.learning(report["learning"]))
    print(f"wrote {options.output} after {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = options_of_pairs("learning", __doc__, ["ours"], epochs=4)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    names = sorted({name for trial in TRIALS for name in trial.settings})
    parser.add_argument("--settings", nargs="+", choices=names, help="(default: all)")
    parser.add_argument("--training-rows", type=int, default=300, help="of a run, validation rows included")
    parser.add_argument("--measured-rows", type=int, default=500)
    return parser.parse_args(words)


def compare(
    options: argparse.Namespace,
    worker: Worker,
    name: str,
    kind: str,
    training: Rows,
    measured: Rows,
    trials: Sequence[Trial],
) -> list[dict[str, Any]]:
    """All runs on one kind of rows: a line of the table for each setting."""
    without = list[Outcome]()
    by_trial: dict[str, list[Outcome]] = {trial.name: [] for trial in trials}
    for seed in range(1, options.seeds + 1):
        rows = KINDS[kind](training, options.training_rows, seed)
        with tempfile.TemporaryDirectory(prefix="learning-") as folder:
            task = Task(
                Path(folder) / "model",
                TOKENS[name],
                batch_size=BATCH_SIZE,
                device=options.device,
                epochs=options.epochs,
                learning_rate=LEARNING_RATE,
                warmup_ratio=WARMUP_RATIO,
                seed=seed,
            )
            worker.call(weights.write, task.model, options.model, None, seed)
            without.append(worker.call(run, task, rows, measured, {}))
            for trial in trials:
                by_trial[trial.name].append(worker.call(run, task, rows, measured, trial.settings))
                gain = by_trial[trial.name][-1].recall_macro - without[-1].recall_macro
                print(f"{name}, {kind}, seed {seed}: {trial.name}: {gain:+.2f} points", flush=True)
    return [line(name, kind, len(rows), len(measured), trial, without, found) for trial, found in by_trial.items()]


def run(task: Task, rows: Rows, measured: Rows, settings: Mapping[str, str]) -> Outcome:
    """Train on the first rows, choose the epoch on the others, and measure the model."""
    count = round((1 - VALIDATION) * len(rows))
    training, validation = rows.take(range(count)), rows.take(range(count, len(rows)))
    with job_of(task, training, validation, StopSignal(), measured, **settings) as job:
        began = time.perf_counter()
        trained = job.train()
        seconds = time.perf_counter() - began
        split = job.splits["test"]
        logits = predict(job.classifier, split, job.settings.eval_batch_size, job.cluster, job.stop)
        assert logits is not None
        values = job.task.measure(logits, split.targets)
    return Outcome(100 * values["recall_macro"], values["loss"], trained.steps, seconds)


def line(
    name: str,
    kind: str,
    training_rows: int,
    measured_rows: int,
    setting: str,
    without: Sequence[Outcome],
    found: Sequence[Outcome],
) -> dict[str, Any]:
    """A line of the table: the pairs of a setting, and their differences."""
    recall, loss = (
        difference(*(np.array([getattr(one, metric) for one in outcomes]) for outcomes in (found, without)))
        for metric in ("recall_macro", "log_loss")
    )
    return {
        "rows": name,
        "kind": kind,
        "training_rows": training_rows,
        "measured_rows": measured_rows,
        "setting": setting,
        "without": [one.recall_macro for one in without],
        "with": [one.recall_macro for one in found],
        "recall_macro": recall,
        "log_loss": loss if kind != "imbalanced" else None,  # the measured rows have other frequencies
        "steps": statistics.fmean(a.steps / b.steps for a, b in zip(found, without, strict=True)),
        "seconds": statistics.median(a.seconds / b.seconds for a, b in zip(found, without, strict=True)),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
