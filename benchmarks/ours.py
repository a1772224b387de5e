"""This project's job as a competitor, with the same stages as code/train.py."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.clock import Clock, StepClock
from benchmarks.contest import MAX_GRAD_NORM, WEIGHT_DECAY, Competitor, Task
from benchmarks.corpus import Rows
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.job import Job
from text_classifier.preparation.rows import write_rows
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.cluster import Cluster


class Ours(Competitor):
    """code/text_classifier/job.py, as train.py runs it, up to the first evaluation."""

    name = "ours"

    def prepare(self, rows: Rows) -> None:
        """Train the rows once, and take the setup from the job's log."""
        with contextlib.redirect_stdout(io.StringIO()) as log:
            super().prepare(rows)
        line = next(line for line in log.getvalue().splitlines() if line.startswith("rows: "))
        self.setup = f"code/text_classifier/job.py: {line.rpartition('; ')[2]}"

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Job.train(), stopped after the last step of its only epoch."""
        steps = len(rows) // self.task.batch_size
        with job_of(self.task, rows, rows.one_of_each_class(), StepClock(steps, clock)) as job:
            trained = job.train().throughput
            return round(trained["tokens_per_second"] * trained["seconds"] / (1 - trained["padding"]))


@contextlib.contextmanager
def job_of(
    task: Task, rows: Rows, validation: Rows, stop: StopSignal, test: Rows | None = None, **more: Any
) -> Iterator[Job]:
    """Our job on these rows, ready to train; `more` are hyperparameters besides those of the task."""
    with folders_of(task, rows, validation, test) as base:
        folders = JobFolders(base)
        folders.require_writable_outputs()
        settings = parse(hyperparameters(task) | {name: str(value) for name, value in more.items()})
        cluster = Cluster(Hosts.from_resources({}), settings.collective_timeout_seconds)
        write_rows(read_data(folders.data_channels(), settings, folder=base), base)
        yield Job(folders, settings, base, cluster, stop, tokenizes=True)


@contextlib.contextmanager
def folders_of(task: Task, rows: Rows, validation: Rows, test: Rows | None = None) -> Iterator[Path]:
    """The folders of a job: these rows and the task's model in its channels."""
    with tempfile.TemporaryDirectory(prefix="ours-") as name:
        base = Path(name)
        write_channel(base / "input" / "data" / "train", rows)
        write_channel(base / "input" / "data" / "validation", validation)
        if test:
            write_channel(base / "input" / "data" / "test", test)
        (base / "input" / "data" / "model").symlink_to(task.model.resolve())
        yield base


def hyperparameters(task: Task) -> dict[str, str]:
    """Our job's hyperparameters as strings, like SageMaker passes them."""
    values = {
        "epochs": task.epochs,
        "train_batch_size": task.batch_size,
        "learning_rate": task.learning_rate,
        "warmup_ratio": task.warmup_ratio,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "max_sequence_length": task.tokens,
        "seed": task.seed,
        "label_map": "0=negative;1=positive",
        "checkpoint_seconds": 1e9,
    }
    return {name: str(value) for name, value in values.items()}


def write_channel(folder: Path, rows: Rows) -> None:
    """Write rows as a CSV file, like a user's."""
    folder.mkdir(parents=True)
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(zip(rows.texts, rows.classes, strict=True))
