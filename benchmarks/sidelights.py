"""Measurements besides the competition: matmul speed, tokenizing, start-up, and the cost of checkpoints."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from benchmarks import ROOT
from benchmarks.contest import Task
from benchmarks.corpus import Rows
from benchmarks.ours import folders_of, hyperparameters, job_of
from benchmarks.tutorial import OneAtATime
from text_classifier.ops import processor
from text_classifier.runtime.stop import StopSignal
from text_classifier.tokenization.tokens import tokenize
from text_classifier.training import checkpoint, resume

#: Size of the square matrices of a matmul, large enough for the full speed of the device.
PRODUCT_SIZE = {"cpu": 2048, "cuda": 8192}
PRODUCT_SECONDS = 1.0
TOKENIZING_TRIES = 3

#: The default of the hyperparameter checkpoint_seconds.
CHECKPOINT_SECONDS = 120.0
CHECKPOINTS = 4

FIRST_STEP = re.compile(r"step 1 of ")


def has_gpu() -> bool:
    """Whether torch can use a GPU."""
    return torch.cuda.is_available()


def threads() -> int:
    """Number of threads that torch uses."""
    return torch.get_num_threads()


def conditions(commit: str, device: str = "cpu", packages: Sequence[str] = ("torch",)) -> dict[str, Any]:
    """What a result depends on besides the model and the rows. `packages` that are not installed are left out."""
    installed = {package: metadata.version(package) for package in packages if importlib.util.find_spec(package)}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit,
        "device": device_name(device),
        "threads": threads(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {version}" for package, version in installed.items()),
    }


def device_name(device: str) -> str:
    """The name of the GPU, or of the CPU with its instruction set for matmuls."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    about = dict(
        re.findall(r"^(model name|cpu family|model)\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    )
    name = f"{about.get('model name', 'CPU')} (family {about.get('cpu family')}, model {about.get('model')})"
    level = torch.backends.cpu.get_cpu_capability()
    formats = [name for name in ("avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(name)]
    best = f"{level} only" if "ATEN_CPU_CAPABILITY" in os.environ else ", ".join([level, *formats])
    return f"{name}, {os.cpu_count()} cores, {best}"


def has_16_bits(device: str) -> bool:
    """Whether the device multiplies in 16 bits: a CPU that converts each number takes many minutes for a benchmark."""
    return device == "cuda" or processor.has_bf16()


@dataclass(frozen=True)
class Speed:
    """FLOP/s of large matmuls: over all of them, and of the fastest one."""

    usual: float
    best: float


def products(device: str) -> dict[str, Speed]:
    """The current speed of matmuls by dtype. On a shared machine the fastest one is far above the sustained speed."""
    size = PRODUCT_SIZE[device]
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    found = {}
    for name, dtype in {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_16_bits(device) else {})}.items():
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        torch.matmul(left, right)
        wait()
        seconds: list[float] = []
        while sum(seconds) < PRODUCT_SECONDS:
            started = time.perf_counter()
            torch.matmul(left, right)
            wait()
            seconds.append(time.perf_counter() - started)
        found[name] = Speed(2 * size**3 * len(seconds) / sum(seconds), 2 * size**3 / min(seconds))
    return found


def row_lengths(task: Task, rows: Rows) -> list[int]:
    """Number of tokens of each row, as all competitors tokenize it."""
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    return [len(ids) for ids in tokenizer(list(rows.texts), truncation=True, max_length=task.tokens)["input_ids"]]


def tokenizing(task: Task, rows: Rows, one_core: bool) -> dict[str, list[float]]:
    """Seconds of our tokenizing and of tokenizing one row at a time padded to the maximum, in turn. `one_core` needs a
    fresh process."""
    if one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.environ["RAYON_NUM_THREADS"] = "1"  # read at the first parallel call of the tokenizers library
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    singly = OneAtATime(rows, AutoTokenizer.from_pretrained(task.model), task.tokens)
    seconds: dict[str, list[float]] = {"ours": [], "one at a time": []}
    for _ in range(TOKENIZING_TRIES):
        started = time.perf_counter()
        tokenize(tokenizer, list(rows.texts), task.tokens)
        halfway = time.perf_counter()
        for index in range(len(singly)):
            singly.encode(index)
        seconds["ours"].append(halfway - started)
        seconds["one at a time"].append(time.perf_counter() - halfway)
    return seconds


def seconds_to_first_step(task: Task, rows: Rows) -> float:
    """Seconds from the start of the process `python code/train.py` to the end of its first optimizer step."""
    script = ROOT / "code" / "train.py"
    with folders_of(task, rows, rows.one_of_each_class()) as base:
        arguments = [f"--{name}={value}" for name, value in hyperparameters(task).items()]
        # Without the competitors' packages: transformers would import accelerate.
        environment = os.environ | {"SAGEMAKER_BASE_DIR": str(base), "PYTHONUNBUFFERED": "1", "PYTHONPATH": ""}
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, str(script), *arguments], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if FIRST_STEP.match(line):
                    seconds = time.perf_counter() - started
                    process.kill()
                    return seconds
    raise RuntimeError("train.py ended before its first step")


def checkpoint_cost(task: Task, rows: Rows) -> dict[str, float]:
    """The cost of a checkpoint: seconds that the loop waits in Saver.save, CPU-seconds of the writing thread, and both
    as a share of the time between two checkpoints.

    Here a checkpoint follows each epoch of a few steps, so `save` also waits until the previous one is written, which
    never happens after two minutes: that time is subtracted. The first one is left out because it has no best weights.
    """
    saving = _timed(resume.Saver, "save", time.perf_counter)
    finishing = _timed(resume.Saver, "finish", time.perf_counter)
    writing = _timed(checkpoint.Checkpoints, "write", time.thread_time)
    with job_of(task, rows, rows.one_of_each_class(), StopSignal(), epochs=CHECKPOINTS) as job:
        job.train()
    assert len(saving) == len(writing) == CHECKPOINTS
    blocked = statistics.median(
        save - finish for save, finish in zip(saving[1:], finishing[1:CHECKPOINTS], strict=True)
    )
    written = statistics.median(writing[1:])
    return {
        "seconds_blocked": blocked,
        "cpu_seconds_writing": written,
        "share": (blocked + written) / CHECKPOINT_SECONDS,
    }


def _timed(owner: type, name: str, clock: Callable[[], float]) -> list[float]:
    """Time each call of a method. Returns the list to which the seconds are appended."""
    method = getattr(owner, name)
    taken: list[float] = []

    def measured(*arguments: Any, **named: Any) -> Any:
        started = clock()
        try:
            return method(*arguments, **named)
        finally:
            taken.append(clock() - started)

    setattr(owner, name, measured)
    return taken
