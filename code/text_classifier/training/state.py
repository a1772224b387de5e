"""The state of a training, and how a checkpoint has it.

Weights, optimizer, random states and the running sums of the epoch are stored bit by bit, so that a resumed job repeats
exactly the steps of an uninterrupted one (on GPUs up to rounding). The order of the rows needs no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import transformers

from text_classifier.modeling.precision import LossScale
from text_classifier.training.checkpoint import Content, Header, Headers
from text_classifier.training.cluster import Cluster
from text_classifier.training.loss_tracking import LossCurve
from text_classifier.training.micro_batches import TokenLimit
from text_classifier.training.restorable import header_of


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
            "model": host_copy(self.model.state_dict()),
            "best": self.best_weights,
            "optimizer": host_copy(self._optimizer_tensors()),
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


def host_copy(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of the tensors in the host's memory."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
