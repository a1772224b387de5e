"""What a checkpoint holds, when it is taken, and whether a job may go on from it.

A job that goes on from a checkpoint repeats the very steps that an uninterrupted one takes: weights, optimizer, random
states and the sums of the running epoch are kept bit by bit, and the order of the rows needs no state.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import transformers

from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.precision import LossScale
from text_classifier.training.batches import Split
from text_classifier.training.checkpoint import KEPT, Checkpoints, Content
from text_classifier.training.cluster import Cluster
from text_classifier.training.loss_tracking import LossCurve

#: Settings that may differ between a job and the one that goes on from its checkpoint.
FREE_SETTINGS = {
    "epochs", "checkpoint_dir", "checkpoint_seconds", "log_seconds", "collective_timeout_seconds", "eval_batch_size",
    "export", "slice_column",
    "train_batch_size",  # what counts is the batch of all ranks
}  # fmt: skip

#: After so many failed attempts to write a checkpoint in a row a job is not safe any more.
ATTEMPTS = 3


@dataclass
class Training:
    """All that changes from step to step. `loss_sum` and `own_rows` are this rank's, of the running epoch."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    loss_scale: LossScale
    loss_sum: torch.Tensor
    own_rows: int = 0
    rows: int = 0
    steps: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)  #: the values of each finished epoch
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)  #: on the host
    is_stopped: bool = False
    curve: LossCurve = field(default_factory=LossCurve)  #: of this rank's rows; rank 0's is kept
    throughput: dict[str, float] = field(default_factory=dict)  #: since this process began; not kept

    def capture(self, cluster: Cluster) -> Content:
        """A copy on the host. All ranks must call it at the same step: each adds its random state and sums."""
        own = {"loss_sum": self.loss_sum.detach().clone(), "own_rows": torch.tensor(self.own_rows)}
        own["random"] = torch.get_rng_state()
        if cluster.device.type == "cuda":
            own["random_cuda"] = torch.cuda.get_rng_state(cluster.device)
        tensors = {
            "model": _copy(self.model.state_dict()),
            "best": self.best_weights,
            "optimizer": _copy(self._optimizer_tensors()),
            "ranks": {name: cluster.all_gather(tensor.cpu()) for name, tensor in own.items()},
        }
        state = {
            "steps": self.steps,
            "rows": self.rows,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "loss_scale": self.loss_scale.state(),
            "curve": self.curve.state(),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        return Content({name: file for name, file in tensors.items() if file}, state)

    def restore(self, content: Content, cluster: Cluster) -> None:
        """Go on where the checkpoint was taken."""
        tensors, state = content.tensors, content.state
        self.model.load_state_dict(tensors["model"])
        for name, value in self._optimizer_tensors(create=True).items():
            value.copy_(tensors["optimizer"][name])
        self.loss_scale.restore(state["loss_scale"])
        self.steps, self.rows = state["steps"], state["rows"]
        self.epochs, self.best_epoch = state["epochs"], state["best_epoch"]
        self.curve.restore(state["curve"])
        self.best_weights = dict(tensors.get("best", {}))
        own = {name: tensor[cluster.rank] for name, tensor in tensors["ranks"].items()}
        self.loss_sum.copy_(own["loss_sum"])
        self.own_rows = int(own["own_rows"])
        torch.set_rng_state(own["random"].clone())
        if "random_cuda" in own:
            torch.cuda.set_rng_state(own["random_cuda"].clone(), cluster.device)

    def _optimizer_tensors(self, *, create: bool = False) -> dict[str, torch.Tensor]:
        """AdamW's state by parameter name; `create` makes the zeros that its first step would make."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        found: dict[str, torch.Tensor] = {}
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                state = self.optimizer.state[parameter]
                if create and not state:
                    state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                found |= {f"{kind}.{names[parameter]}": tensor for kind, tensor in state.items()}
        return found


def _copy(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def fingerprint(settings: Settings, cluster: Cluster, model: Any, splits: Mapping[str, Split]) -> dict[str, Any]:
    """All that the result depends on, but for the number of epochs."""
    chosen = {name: value for name, value in asdict(settings).items() if name not in FREE_SETTINGS}
    chosen["train_batch_size * processes"] = settings.train_batch_size * cluster.world_size
    chosen["processes"] = cluster.world_size
    chosen["model"] = hashlib.sha256(model.config.to_json_string().encode()).hexdigest()
    for name in ("train", "validation"):
        digest = hashlib.sha256()
        for array in (splits[name].tokens.ids, splits[name].tokens.offsets, splits[name].targets):
            digest.update(np.ascontiguousarray(array).data)  # tobytes() would hold a copy of all ids in memory
        chosen[f"{name} rows"] = digest.hexdigest()
    return chosen


class Saver:
    """Takes a checkpoint every `seconds`, and writes it while the next steps run."""

    def __init__(self, checkpoints: Checkpoints, seconds: float, cluster: Cluster, origin: Mapping[str, Any]) -> None:
        self._checkpoints = checkpoints
        self._seconds = seconds
        self._cluster = cluster
        self._origin = json.loads(json.dumps(origin))
        self._taken = time.monotonic()
        self._writing: threading.Thread | None = None
        self._failures = 0

    @property
    def is_due(self) -> bool:
        """Whether it is time; rank 0's clock counts."""
        is_busy = self._writing is not None and self._writing.is_alive()
        return self._cluster.is_rank_zero and not is_busy and time.monotonic() - self._taken >= self._seconds

    def resume(self, training: Training) -> None:
        """Go on from the newest whole checkpoint, if there is one.

        Raises SettingsError when it comes from a job whose result would differ, PlatformError when none is whole.
        """
        found = self._checkpoints.newest()
        step = found[0] if found else 0
        steps = self._cluster.all_gather(torch.tensor(step)).tolist()
        if len(set(steps)) > 1:
            raise PlatformError(
                f"the processes see different checkpoints in {self._checkpoints.directory} (steps {steps}); give all "
                "hosts the same folder"
            )
        if found is None:
            return
        content = found[1]
        for name, value in self._origin.items():
            before = content.state["origin"].get(name)
            if before != value:
                raise SettingsError(
                    f"the checkpoints in {self._checkpoints.directory} are of a job with {name}={before}, this one has "
                    f"{value}; give this job a checkpoint folder of its own, or the former settings"
                )
        training.restore(content, self._cluster)
        self._cluster.print0(f"Going on from the checkpoint of step {step}")

    def require_space(self, training: Training) -> None:
        """Find out before the first step whether the checkpoints will fit. Raises PlatformError."""
        weights = sum(tensor.numel() * tensor.element_size() for tensor in training.model.state_dict().values())
        needed = 4 * weights * (KEPT + 1)  # weights, the best ones, and AdamW's two moments; one more is being written
        self._checkpoints.directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._checkpoints.directory).free
        if self._cluster.is_rank_zero and free < needed:
            raise PlatformError(
                f"{self._checkpoints.directory} has {free / 1e9:.2f} GB free, and the checkpoints need "
                f"{needed / 1e9:.2f} GB; give the job a larger volume"
            )

    def save(self, training: Training) -> None:
        """Take a checkpoint now; all ranks must call it. It is on disk when `finish` returns.

        Raises PlatformError after `ATTEMPTS` failures in a row.
        """
        content = training.capture(self._cluster)
        self.finish()
        self._taken = time.monotonic()
        if self._cluster.is_rank_zero:
            content = Content(content.tensors, {**content.state, "origin": self._origin})
            self._writing = threading.Thread(target=self._write, args=(training.steps, content))
            self._writing.start()

    def finish(self) -> None:
        """Wait until the checkpoint under way is written."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._failures >= ATTEMPTS:
            raise PlatformError(
                f"{ATTEMPTS} checkpoints in a row could not be written to {self._checkpoints.directory}; give the job "
                "a larger volume"
            )

    def _write(self, step: int, content: Content) -> None:
        try:
            self._checkpoints.write(step, content)
        except OSError as error:
            self._failures += 1
            print(f"WARNING: the checkpoint of step {step} could not be written: {error}", flush=True)
        else:
            self._failures = 0
