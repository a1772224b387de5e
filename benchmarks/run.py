"""Measures the training speed of all competitors side by side, in rounds. README.md explains the results.

    python benchmarks/run.py --device cuda --shape distilbert-base

Needs the image's packages and accelerate, but no network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import ONLY_AVX2, ROOT, competition, corpus, figures, sidelights, weights
from benchmarks.competitors import COMPETITORS
from benchmarks.contest import Task
from benchmarks.corpus import Rows
from benchmarks.worker import Worker

#: Steps per round by number of tokens. On two CPU cores T and H0 take about 25 s per step of 512 tokens. With fewer
#: steps, H* could not group rows by length.
STEPS = {"cpu": {128: 6, 512: 2}, "cuda": {128: 400, 512: 200}}

#: Without --competitors, H0 runs up to this number of tokens: at 512 on a CPU it takes as long as T.
MAX_TOKENS_OF_H0 = {"cpu": 128, "cuda": 512}

DEMO = ROOT / "build" / "demo"
IMDB = ROOT / "build" / "bench" / "imdb.csv"

TOKENIZED_ROWS = 4_000
START_ROWS = 4_000
STARTS = 3
CHECKPOINT_BATCHES = 2


class Refusal(Exception):
    """The benchmark cannot run with these options; the message is one sentence with the remedy."""


def main(words: Sequence[str]) -> int:
    """Run the benchmark. Exit codes: 0 done, 2 wrong use."""
    options = arguments(words)
    try:
        require_packages_and_device(options)
        model = model_folder(options.model, options.shape)
        rows = read_rows(options.rows)
    except Refusal as refusal:
        print(f"benchmark: {refusal}", file=sys.stderr)
        return 2
    set_environment(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        report = run(options, rows, model, Path(name) / "model")
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.output} after {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512], help="maximum sequence lengths")
    parser.add_argument("--batch-size", type=int, default=32, help="rows per step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps per round (default: by device and tokens)")
    parser.add_argument(
        "--competitors",
        nargs="+",
        choices=COMPETITORS,
        help="(default: all; on a CPU H0 only up to 128 tokens)",
    )
    parser.add_argument("--model", type=Path, help="folder with weights and tokenizer (default: the demo's)")
    parser.add_argument("--shape", choices=weights.SHAPES, help="use random weights of this shape")
    parser.add_argument("--rows", choices=("imdb", "snippets", "made-up"), default="imdb")
    parser.add_argument("--only-avx2", action="store_true", help="as on a CPU without AVX-512, AMX and 16 bits")
    parser.add_argument("--threads", type=int, help="threads per competitor (default: torch's)")
    parser.add_argument(
        "--only-competition", action="store_true", help="skip the measurements of tokenizing, start-up and checkpoints"
    )
    parser.add_argument("--commit", default="not given", help="commit to name in the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "results.json")
    return parser.parse_args(words)


def read_rows(name: str) -> Rows:
    """The rows of a data set. Raises Refusal."""
    if name == "made-up":
        return corpus.made_up()
    file = IMDB if name == "imdb" else DEMO / "train" / "reviews.tsv"
    if not file.is_file():
        raise Refusal(f"{file} is missing; run `make bench-data` on a machine with a network, or use --rows made-up")
    return corpus.imdb(file) if name == "imdb" else corpus.snippets(file)


def model_folder(folder: Path | None, shape: str | None) -> Path | None:
    """The folder with weights and tokenizer; None for random weights and made-up words. Raises Refusal."""
    if folder is None and (DEMO / "model").is_dir():
        return DEMO / "model"
    if folder is None and shape is None:
        raise Refusal("there is no model; run `make demo-data` on a machine with a network, or give --model or --shape")
    if folder is not None and not (folder / "config.json").is_file():
        raise Refusal(f"--model {folder} has no config.json; give a folder written by save_pretrained")
    return folder


def require_packages_and_device(options: argparse.Namespace) -> None:
    """Raise Refusal if a package or the device is missing."""
    if {"H0", "H*"} & set(options.competitors or COMPETITORS) and importlib.util.find_spec("accelerate") is None:
        raise Refusal("H0 and H* need the package accelerate; install it, or use --competitors T ours")
    if options.device == "cuda" and not sidelights.has_gpu():
        raise Refusal("--device cuda: torch finds no GPU; use --device cpu")


def set_environment(options: argparse.Namespace) -> None:
    """Set environment variables for this process and its child processes."""
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(options.threads)
    if options.only_avx2:
        os.environ.update(ONLY_AVX2)
    # One GPU or none: Trainer would split a batch over all visible GPUs.
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if options.device == "cpu" else os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["HF_HUB_OFFLINE"] = "1"


def run(options: argparse.Namespace, rows: Rows, source: Path | None, model: Path) -> dict[str, Any]:
    """Run all measurements and print each result. Returns the content of the results file."""
    log = options.output.with_suffix(".log")
    log.unlink(missing_ok=True)
    with Worker(log) as observer:
        observer.call(weights.write, model, source, options.shape)
        report: dict[str, Any] = {"about": about(options, source, observer), "competitions": []}
        print("\n".join(f"{name}: {value}" for name, value in report["about"].items()), flush=True)
        for tokens in options.tokens:
            task = Task(model, tokens, options.batch_size, options.device)
            steps = options.steps or steps_for(options.device, tokens)
            found = competition.compete(competitors(options, tokens), task, rows, options.rounds, steps, observer, log)
            report["competitions"].append(competition.summarize(found))
            print_competition(report["competitions"][-1], options.device)
        if not options.only_competition:
            report["sidelights"] = measure_sidelights(
                Task(model, min(options.tokens), options.batch_size, options.device), rows, observer, log
            )
    return report


def competitors(options: argparse.Namespace, tokens: int) -> list[str]:
    """The named competitors, or all that do not take too long."""
    some = [name for name in COMPETITORS if name != "H0" or tokens <= MAX_TOKENS_OF_H0[options.device]]
    return options.competitors or some


def steps_for(device: str, tokens: int) -> int:
    """Steps per round of the nearest sequence length in STEPS."""
    known = STEPS[device]
    return known[min(known, key=lambda length: abs(length - tokens))]


def about(options: argparse.Namespace, source: Path | None, observer: Worker) -> dict[str, Any]:
    """The conditions of the run, with model and rows."""
    packages = ("torch", "transformers", "accelerate", "tokenizers")
    return {
        **observer.call(sidelights.conditions, options.commit, options.device, packages),
        "model": f"random weights, {options.shape}" if options.shape else source_name(source),
        "rows": options.rows,
    }


def source_name(source: Path | None) -> str:
    """The name of a model folder, without paths of this machine."""
    assert source is not None
    return str(source.relative_to(ROOT)) if source.is_relative_to(ROOT) else source.name


def print_competition(found: dict[str, Any], device: str) -> None:
    """The table and its footnotes."""
    products = dict(found["flops_per_second"])
    best = products.pop("best")
    speeds = ", ".join(
        f"{form} {figures.Spread.of(speed / 1e12 for speed in speeds).text()}" for form, speeds in products.items()
    )
    print(
        f"\n{found['tokens']} tokens, batch {found['batch_size']}, {found['rounds']} rounds of {found['steps']} steps\n"
    )
    print(figures.table(found["competitors"], "peak GPU memory" if device == "cuda" else "peak memory"))
    print(f"\nMFU is relative to matmuls right before and after each run, in the faster dtype (TFLOP/s: {speeds}).")
    shares = {name: values["mfu_of_best_product"] for name, values in found["competitors"].items()}
    if all(shares.values()):
        of_best = ", ".join(f"{name} {100 * share['median']:.1f} %" for name, share in shares.items())
        print(f"Relative to the fastest single matmul of the run, {best / 1e12:.2f} TFLOP/s: {of_best}.")
    if device == "cpu" and "ours" in found["competitors"]:
        ratios = {name: figures.Spread(**values["cpu_against_ours"]) for name, values in found["competitors"].items()}
        print("CPU-seconds relative to ours: " + ", ".join(f"{name} {ratio.text()}" for name, ratio in ratios.items()))
    for name, values in found["competitors"].items():
        print(f"{name}: {values['setup']}")
    print(flush=True)


def measure_sidelights(task: Task, rows: Rows, observer: Worker, log: Path) -> dict[str, Any]:
    """Measure tokenizing, start-up and checkpoints."""
    found: dict[str, Any] = {}
    some = rows.sample(min(TOKENIZED_ROWS, len(rows)), seed=0)
    for name, one_core in (("one core", True), ("all cores", False)):
        with Worker(log) as fresh:
            seconds = fresh.call(sidelights.tokenizing, task, some, one_core)
        ratio = figures.ratios(seconds["one at a time"], seconds["ours"])
        speed = figures.rates([len(some)] * len(seconds["ours"]), seconds["ours"])
        found[f"tokenizing, {name}"] = {"rows_per_second": asdict(speed), "one_at_a_time_against_ours": asdict(ratio)}
        print(
            f"tokenizing to {task.tokens} tokens, {name}: {speed.text('.0f')} rows/s; "
            f"one row at a time takes {ratio.text()} times as long"
        )
    some = rows.sample(min(START_ROWS, len(rows)), seed=0)
    start = figures.Spread.of(observer.call(sidelights.seconds_to_first_step, task, some) for _ in range(STARTS))
    found["start"] = {"rows": len(some), "seconds_to_first_step": asdict(start)}
    print(f"from the start of train.py to the end of its first step, {len(some)} rows: {start.text()} s")
    some = rows.sample(task.batch_size * CHECKPOINT_BATCHES, seed=0)
    found["checkpoints"] = cost = observer.call(sidelights.checkpoint_cost, task, some)
    print(
        f"a checkpoint blocks the loop for {cost['seconds_blocked']:.3f} s and takes its writer "
        f"{cost['cpu_seconds_writing']:.3f} CPU-seconds: {100 * cost['share']:.2f} % of the time between checkpoints"
    )
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
