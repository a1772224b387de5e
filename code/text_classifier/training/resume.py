"""When a checkpoint is taken, and whether a job may resume from one."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from text_classifier.contract.errors import PlatformError, SettingsError, listed, printable
from text_classifier.contract.hyperparameters import Settings
from text_classifier.training.checkpoint import KEPT, Checkpoints, Content
from text_classifier.training.cluster import Cluster
from text_classifier.training.evaluations import EvaluationPlan
from text_classifier.training.restorable import Expected
from text_classifier.training.state import Training

#: Settings that may differ between a job and the one that resumes from its checkpoint.
FREE_SETTINGS = {
    "epochs", "checkpoint_dir", "checkpoint_seconds", "log_seconds", "collective_timeout_seconds", "eval_batch_size",
    "export", "slice_column", "early_stopping_patience", "early_stopping_min_delta", "max_tokens_per_gpu",
    "cross_validation",
    "train_batch_size",  # the batch of all ranks must be equal
}  # fmt: skip

DEFAULTS = asdict(Settings())

#: Characters of the operations that have changed, in the log, and of a setting of the checkpoint.
_LONGEST_CHANGES, _LONGEST_VALUE = 1_000, 200

#: The job fails after this many failed writes in a row.
MAX_FAILURES = 3


def fingerprint(settings: Settings, cluster: Cluster, model: Any, digests: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the result depends on, except the number of epochs. `digests`: of each split's rows."""
    chosen = {name: value for name, value in asdict(settings).items() if name not in FREE_SETTINGS}
    chosen["train_batch_size * processes"] = settings.train_batch_size * cluster.world_size
    chosen["processes"] = cluster.world_size
    chosen["model"] = hashlib.sha256(model.config.to_json_string().encode()).hexdigest()
    for name in ("train", "validation"):
        chosen[f"{name} rows"] = digests[name]
    return chosen


class NoCheckpoints:
    """In place of a Saver, for a training that is repeated and not resumed."""

    is_due = False

    def resume(self, training: Training) -> None:
        """Start from the beginning."""

    def require_space(self, training: Training) -> None:
        """No space is needed."""

    def save(self, training: Training) -> None:
        """Take no checkpoint."""

    def finish(self) -> None:
        """There is nothing to wait for."""


class Saver:
    """Takes a checkpoint every `seconds`; a thread writes it while training goes on."""

    def __init__(
        self, checkpoints: Checkpoints, seconds: float, cluster: Cluster, origin: Mapping[str, Any], rows: int
    ) -> None:
        """`rows`: of an epoch's batches, on all ranks."""
        steps_per_epoch = math.ceil(rows / origin["train_batch_size * processes"])
        self._plan = EvaluationPlan.of(steps_per_epoch, origin["evaluations_per_epoch"])
        self._checkpoints = checkpoints
        self._seconds = seconds
        self._cluster = cluster
        self._origin = json.loads(json.dumps(origin))
        self._taken = time.monotonic()
        self._writing: threading.Thread | None = None
        self._failures: list[OSError] = []  #: in a row
        self._refusal: Exception | None = None

    @property
    def is_due(self) -> bool:
        """Whether to take a checkpoint now; by rank 0's clock."""
        is_busy = self._writing is not None and self._writing.is_alive()
        return self._cluster.is_rank_zero and not is_busy and time.monotonic() - self._taken >= self._seconds

    def resume(self, training: Training) -> None:
        """Restore the newest complete checkpoint, if there is any checkpoint.

        Raises SettingsError if it is from a job whose result would differ, PlatformError if none is complete.
        """
        expected = Expected(training.headers(self._cluster.world_size), self._plan, self._origin["task"])
        try:
            newest = self._checkpoints.newest(expected)
        except PlatformError:
            self._require_same_job(self._checkpoints.newest_state())  # the reason why none fits
            raise
        step = newest[0] if newest else 0
        steps = self._cluster.all_gather(torch.tensor(step)).tolist()
        if len(set(steps)) > 1:
            raise PlatformError(
                f"the processes see different checkpoints in {self._checkpoints.directory} (steps {steps}); give all "
                "hosts the same folder"
            )
        if newest is None:
            return
        content = newest[1]
        self._require_same_job(content.state)
        training.restore(content, self._cluster)
        self._cluster.print0(f"Resuming from the checkpoint of step {step}")
        now = training.operations
        before = content.state.get("operations", now)  # absent from older checkpoints
        changed = [f"{name} ({how}, now {now.get(name)})" for name, how in before.items() if how != now.get(name)]
        if changed:  # the names are the checkpoint's: any text
            self._cluster.print0(
                f"WARNING: operations are computed in another way than until step {step}, so the weights will not be "
                f"bit-identical to those of an uninterrupted run: {listed(changed, len(now))[:_LONGEST_CHANGES]}"
            )

    def _require_same_job(self, state: Mapping[str, Any]) -> None:
        """Raise SettingsError if a checkpoint with this state is from a job whose result would differ."""
        origin = state.get("origin")
        if not isinstance(origin, dict):
            return
        for name, value in self._origin.items():
            previous = origin.get(name, DEFAULTS.get(name))  # older checkpoints lack new settings
            if previous != value:
                shown = printable(str(previous))[:_LONGEST_VALUE]
                raise SettingsError(
                    f"the checkpoints in {self._checkpoints.directory} are from a job with {name}={shown}, this one "
                    f"has {value}; use another checkpoint folder, or the previous settings"
                )

    def require_space(self, training: Training) -> None:
        """Raise PlatformError if the disk has no room for the checkpoints; called before the first step."""
        weights = sum(tensor.numel() * tensor.element_size() for tensor in training.model.state_dict().values())
        needed = 4 * weights * (KEPT + 1)  # weights, best weights and AdamW's two moments; one more while it is written
        try:
            self._checkpoints.directory.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._checkpoints.directory).free
        except OSError as error:
            raise PlatformError(
                f"the checkpoint folder {self._checkpoints.directory} cannot be made ({error.strerror}); use another "
                "checkpoint folder"
            ) from None
        if self._cluster.is_rank_zero and free + self._checkpoints.held_bytes() < needed:
            raise PlatformError(
                f"{self._checkpoints.directory} has {free / 1e9:.2f} GB free, and the checkpoints need "
                f"{needed / 1e9:.2f} GB; give the job a larger volume"
            )

    def save(self, training: Training) -> None:
        """Take a checkpoint now; all ranks must call it. It is on disk once `finish` returns.

        Raises PlatformError after `MAX_FAILURES` failures in a row.
        """
        content = training.capture(self._cluster)
        self.finish()
        self._taken = time.monotonic()
        if self._cluster.is_rank_zero:
            content = Content(content.tensors, {**content.state, "origin": self._origin})
            self._writing = threading.Thread(target=self._write, args=(training.steps, content))
            self._writing.start()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._refusal:
            raise self._refusal
        if len(self._failures) >= MAX_FAILURES:
            raise PlatformError(
                f"{MAX_FAILURES} checkpoints in a row could not be written to {self._checkpoints.directory} "
                f"({self._failures[-1]}); give the job a larger volume, or a checkpoint folder that it can write to"
            )

    def _write(self, step: int, content: Content) -> None:
        try:
            self._checkpoints.write(step, content)
        except OSError as error:
            self._failures.append(error)
            print(f"WARNING: the checkpoint of step {step} could not be written: {error}", flush=True)
        except Exception as error:
            self._refusal = error
        else:
            self._failures.clear()
