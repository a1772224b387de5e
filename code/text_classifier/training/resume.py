"""The content of a checkpoint, when one is taken, and whether a job may resume from it.

A resumed job repeats exactly the steps of an uninterrupted one: weights, optimizer, random states and the running sums
of the epoch are stored bit by bit, and the order of the rows needs no state.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import transformers

from text_classifier.contract.errors import PlatformError, SettingsError, printable
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.precision import LossScale
from text_classifier.training.checkpoint import KEPT, Checkpoints, Content, Header, Headers
from text_classifier.training.cluster import Cluster
from text_classifier.training.evaluations import EvaluationPlan
from text_classifier.training.loss_tracking import LossCurve
from text_classifier.training.micro_batches import TokenLimit
from text_classifier.training.restorable import Expected, header_of

#: Settings that may differ between a job and the one that resumes from its checkpoint.
FREE_SETTINGS = {
    "epochs", "checkpoint_dir", "checkpoint_seconds", "log_seconds", "collective_timeout_seconds", "eval_batch_size",
    "export", "slice_column", "early_stopping_patience", "early_stopping_min_delta", "max_tokens_per_gpu",
    "cross_validation",
    "train_batch_size",  # the batch of all ranks must be equal
}  # fmt: skip

DEFAULTS = asdict(Settings())

#: The job fails after this many failed writes in a row.
MAX_FAILURES = 3


@dataclass
class Training:
    """All state that changes from step to step. `loss_sum` and `own_rows`: of this rank, since the last
    evaluation."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    loss_scale: LossScale
    loss_sum: torch.Tensor
    operations: Mapping[str, str]  #: what computes each operation (ops/backend.py) since this process started
    own_rows: int = 0
    rows: int = 0
    steps: int = 0
    evaluations: list[dict[str, float]] = field(default_factory=list)  #: their metrics
    best_evaluation: int = 0  #: from 1; 0: there is none
    evaluations_per_epoch: int = 1
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)  #: on the host
    is_stopped: bool = False  #: by a signal
    stopped_early: bool = False  #: because the metric no longer improved
    limit: TokenLimit = field(default_factory=lambda: TokenLimit("training"))
    evaluation_limit: TokenLimit = field(default_factory=lambda: TokenLimit("evaluation"))
    curve: LossCurve = field(default_factory=LossCurve)  #: of this rank's rows; checkpoints keep rank 0's
    throughput: dict[str, float] = field(default_factory=dict)  #: since this process started; not in checkpoints

    @property
    def epochs_at_best(self) -> float:
        """Epochs that had passed at the best evaluation; 0 if there is none."""
        return self.best_evaluation / self.evaluations_per_epoch

    def capture(self, cluster: Cluster) -> Content:
        """A copy on the host. All ranks must call it at the same step: each contributes its random state and sums."""
        rank_state = {"loss_sum": self.loss_sum.detach().clone(), "own_rows": torch.tensor(self.own_rows)}
        rank_state["random"] = torch.get_rng_state()
        if cluster.device.type == "cuda":
            rank_state["random_cuda"] = torch.cuda.get_rng_state(cluster.device)
        tensors = {
            "model": _copy(self.model.state_dict()),
            "best": self.best_weights,
            "optimizer": _copy(self._optimizer_tensors()),
            "ranks": {name: cluster.all_gather(tensor.cpu()) for name, tensor in rank_state.items()},
        }
        state = {
            "steps": self.steps,
            "rows": self.rows,
            "epochs": self.evaluations,
            "best_epoch": self.best_evaluation,
            "token_limits": [self.limit.tokens, self.evaluation_limit.tokens],
            "loss_scale": self.loss_scale.state(),
            "curve": self.curve.state(),
            "operations": dict(self.operations),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        return Content({name: file for name, file in tensors.items() if file}, state)

    def headers(self, ranks: int) -> Headers:
        """dtypes and shapes of the tensors that `capture` gives, by file and name; on a GPU there is one more."""
        model = {name: header_of(tensor) for name, tensor in self.model.state_dict().items()}
        optimizer: dict[str, Header] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:  # frozen
                continue
            optimizer[f"step.{name}"] = header_of(torch.zeros(()))
            optimizer[f"exp_avg.{name}"] = optimizer[f"exp_avg_sq.{name}"] = header_of(parameter)
        rank = {
            "loss_sum": header_of(self.loss_sum, ranks),
            "own_rows": header_of(torch.tensor(0), ranks),
            "random": header_of(torch.get_rng_state(), ranks),
        }
        return {"model": model, "best": model, "optimizer": optimizer, "ranks": rank}

    def restore(self, content: Content, cluster: Cluster) -> None:
        """Continue from the checkpoint's step."""
        tensors, state = content.tensors, content.state
        self.model.load_state_dict(tensors["model"])
        for name, value in self._optimizer_tensors().items():
            value.copy_(tensors["optimizer"][name])
        self.loss_scale.restore(state["loss_scale"])
        self.steps, self.rows = state["steps"], state["rows"]
        self.evaluations, self.best_evaluation = state["epochs"], state["best_epoch"]
        for limit, tokens in zip((self.limit, self.evaluation_limit), state.get("token_limits", []), strict=False):
            limit.restore(tokens)
        self.curve.restore(state["curve"])
        self.best_weights = dict(tensors.get("best", {}))
        rank_state = {name: tensor[cluster.rank] for name, tensor in tensors["ranks"].items()}
        self.loss_sum.copy_(rank_state["loss_sum"])
        self.own_rows = int(rank_state["own_rows"])
        torch.set_rng_state(rank_state["random"].clone())
        if "random_cuda" in rank_state and cluster.device.type == "cuda":
            torch.cuda.set_rng_state(rank_state["random_cuda"].clone(), cluster.device)

    def _optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """AdamW's state by parameter name; zeros for parameters that had no gradient yet, as before a first step."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        tensors: dict[str, torch.Tensor] = {}
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                state = self.optimizer.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                tensors |= {f"{kind}.{names[parameter]}": tensor for kind, tensor in state.items()}
        return tensors


def _copy(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


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
        self._failures = 0
        self._refusal: PlatformError | None = None

    @property
    def is_due(self) -> bool:
        """Whether to take a checkpoint now; by rank 0's clock."""
        is_busy = self._writing is not None and self._writing.is_alive()
        return self._cluster.is_rank_zero and not is_busy and time.monotonic() - self._taken >= self._seconds

    def resume(self, training: Training) -> None:
        """Restore the newest complete checkpoint, if there is any checkpoint.

        Raises SettingsError if it is from a job whose result would differ, PlatformError if none is complete.
        """
        expected = Expected(training.headers(self._cluster.world_size), self._plan)
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
        if changed:
            self._cluster.print0(
                f"WARNING: operations are computed in another way than until step {step}, so the weights will not be "
                f"bit-identical to those of an uninterrupted run: {', '.join(changed)}"
            )

    def _require_same_job(self, state: Mapping[str, Any]) -> None:
        """Raise SettingsError if a checkpoint with this state is from a job whose result would differ."""
        origin = state.get("origin")
        if not isinstance(origin, dict):
            return
        for name, value in self._origin.items():
            previous = origin.get(name, DEFAULTS.get(name))  # older checkpoints lack new settings
            if previous != value:
                raise SettingsError(
                    f"the checkpoints in {self._checkpoints.directory} are from a job with "
                    f"{name}={printable(str(previous))}, this one has {value}; use another checkpoint folder, or the "
                    "previous settings"
                )

    def require_space(self, training: Training) -> None:
        """Raise PlatformError if the disk has no room for the checkpoints; called before the first step."""
        weights = sum(tensor.numel() * tensor.element_size() for tensor in training.model.state_dict().values())
        needed = 4 * weights * (KEPT + 1)  # weights, best weights and AdamW's two moments; one more while it is written
        self._checkpoints.directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._checkpoints.directory).free
        if self._cluster.is_rank_zero and free < needed:
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
        if self._failures >= MAX_FAILURES:
            raise PlatformError(
                f"{MAX_FAILURES} checkpoints in a row could not be written to {self._checkpoints.directory}; give the "
                "job a larger volume"
            )

    def _write(self, step: int, content: Content) -> None:
        try:
            self._checkpoints.write(step, content)
        except PlatformError as error:
            self._refusal = error
        except OSError as error:
            self._failures += 1
            print(f"WARNING: the checkpoint of step {step} could not be written: {error}", flush=True)
        else:
            self._failures = 0
