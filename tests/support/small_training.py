"""The training loop on a small model and random rows, in this process."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from support.small_models import in_windows, model_of, split_of
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.load import Classifier, make_classifier
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.preparation.tokens import split_digest
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.tasks.base import Task
from text_classifier.tasks.single_label import SingleLabel
from text_classifier.training.batches import Split
from text_classifier.training.checkpoint import Checkpoints
from text_classifier.training.cluster import Cluster
from text_classifier.training.loop import train
from text_classifier.training.resume import Saver, fingerprint
from text_classifier.training.state import Training

#: Is called with the classifier before the training.
Watch = Callable[[Classifier], object]

FORK = multiprocessing.get_context("fork")

DEFAULTS = {"metric_for_best_model": "f1_macro", "precision": "fp32", "log_seconds": 1e9, "learning_rate": 1e-3}


class StopAfter(StopSignal):
    """A stop that is requested once it was asked for so often: once a step and an evaluation batch."""

    def __init__(self, times: float) -> None:
        self._left = times

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self._left -= 1
        return self._left < 0


@dataclass
class SmallJob:
    """A job with checkpoints in `folder`; every run makes a model of its own and resumes."""

    folder: Path
    rows: int = 96
    longest: int = 20
    family: str = "bert"
    is_padded: bool = False
    options: dict[str, Any] = field(default_factory=dict)  #: of the model
    task: Task = field(default_factory=SingleLabel)
    watch: Watch = lambda classifier: None
    windows: list[int] | None = None  #: of each text, as many as there are rows; None: each row is a text

    @property
    def split(self) -> Split:
        found = split_of([int(n) for n in np.random.default_rng(3).integers(2, self.longest + 1, self.rows)])
        return found if self.windows is None else in_windows(found, self.windows)

    def run(self, stop_after: float = float("inf"), **settings: Any) -> Training:
        """Train, stopped after so many questions for a stop."""
        chosen, cluster = Settings(**DEFAULTS | settings), Cluster(Hosts.from_resources({}), 60)
        torch.manual_seed(chosen.seed)
        model = model_of(self.family, **self.options)
        precision = Precision(chosen.precision, cluster.device)
        make = PaddedClassifier if self.is_padded else make_classifier
        classifier = make(model, model.config.pad_token_id or 0, precision)
        self.watch(classifier)
        torch.manual_seed(chosen.seed)
        training, validation = self.split, split_of([12, 9, 5, 3, 2, 2, 8, 8, 4])
        validation = validation if self.windows is None else in_windows(validation, [2, 1, 1, 3, 1, 1])
        splits = {"train": training, "validation": validation}
        digests = {name: split_digest(split.tokens, split.targets) for name, split in splits.items()}
        origin = fingerprint(chosen, cluster, model, digests)
        saver = Saver(Checkpoints(self.folder), 1e9, cluster, origin, len(training.tokens))
        cluster.join()
        try:
            return train(classifier, training, validation, self.task, chosen, cluster, StopAfter(stop_after), saver)
        finally:
            cluster.leave()

    def run_ranks(self, watches: Sequence[Watch], **settings: Any) -> list[tuple[list[float], list[dict[str, float]]]]:
        """Train in a forked process a rank, each with its own `watch`: the losses of the steps, and the evaluations."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # One after another: filelock refuses a fork while another thread forks.
        ranks = [self._start_rank(watches, port, settings, rank) for rank in range(len(watches))]
        with ThreadPoolExecutor(len(ranks)) as pool:
            return list(pool.map(_result, ranks, timeout=60))

    def _start_rank(
        self, watches: Sequence[Watch], port: int, settings: dict[str, Any], rank: int
    ) -> tuple[ForkProcess, Connection]:
        receiver, sender = FORK.Pipe(duplex=False)

        def work() -> None:
            world = {"RANK": rank, "WORLD_SIZE": len(watches), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in world.items()})
            trained = replace(self, watch=watches[rank]).run(**settings)
            sender.send((losses(trained), trained.evaluations))

        process = FORK.Process(target=work)
        process.start()
        sender.close()
        return process, receiver


def _result(rank: tuple[ForkProcess, Connection]) -> tuple[list[float], list[dict[str, float]]]:
    process, receiver = rank
    found: tuple[list[float], list[dict[str, float]]] = receiver.recv()
    process.join()
    return found


def losses(trained: Training) -> list[float]:
    """The loss of each step."""
    found: list[float] = trained.curve.points()["losses"]
    return found


def weights(trained: Training) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()
