"""The training loop, top to bottom."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

import metrics
from batches import Batch, Split, training_batches
from cluster import Cluster
from evaluation import measure, predict
from failures import SettingsError
from hyperparameters import Settings
from precision import Precision
from progress import Progress
from stop import StopSignal


@dataclass
class Outcome:
    """What training gave: a line of values for each epoch, and the weights of the best one (on the host)."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    steps: int = 0
    is_stopped: bool = False


def train(
    model: PreTrainedModel,
    training: Split,
    validation: Split,
    pad_id: int,
    settings: Settings,
    precision: Precision,
    cluster: Cluster,
    stop: StopSignal,
) -> Outcome:
    """Train for `settings.epochs`, or until the stop signal; evaluate after each epoch.

    Raises SettingsError when the loss or the weights are not finite.
    """
    batch_size = settings.train_batch_size * cluster.world_size
    steps_per_epoch = math.ceil(len(training) / batch_size)
    total_steps = steps_per_epoch * settings.epochs
    optimizer = _optimizer(model, settings)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(total_steps * settings.warmup_ratio), total_steps)
    parallel = DistributedDataParallel(model) if cluster.world_size > 1 else model
    progress = Progress(total_steps, settings.log_seconds, is_shown=cluster.is_rank_zero)
    outcome = Outcome()

    for epoch in range(1, settings.epochs + 1):
        model.train()
        loss_sum = torch.zeros((), device=cluster.device)
        rows = own_rows = 0
        for batch in training_batches(
            training, pad_id, batch_size, settings.seed, epoch, cluster.rank, cluster.world_size
        ):
            if cluster.any(stop.requested):
                outcome.is_stopped = True
                break
            loss_sum += _step(parallel, batch.to(cluster.device), optimizer, settings.max_grad_norm, precision, cluster)
            schedule.step()
            outcome.steps += 1
            rows += batch.rows_of_all_ranks
            own_rows += int(batch.weight.sum())
            progress.step(batch.rows_of_all_ranks, loss_sum, own_rows)
        if outcome.is_stopped:
            break
        if cluster.world_size > 1:
            print(
                f"rank {cluster.rank} of {cluster.world_size} trained on {own_rows} of {rows} rows",
                flush=True,
            )

        train_loss = cluster.sum(loss_sum).item() / rows
        logits = predict(model, validation, pad_id, settings.valid_batch_size, precision, cluster)
        if not (math.isfinite(train_loss) and np.isfinite(logits).all()):
            raise SettingsError(
                f"the model's weights or losses are not finite after epoch {epoch}; lower "
                f"learning_rate={settings.learning_rate:g}"
            )
        _remember(outcome, model, epoch, train_loss, logits, validation.classes, settings.metric_for_best_model)
        cluster.say(metrics.line(epoch, outcome.steps, outcome.epochs[-1]))
    progress.close()
    return outcome


def _step(
    model: torch.nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float,
    precision: Precision,
    cluster: Cluster,
) -> torch.Tensor:
    """One optimizer step. Returns the sum of this rank's losses, on the device.

    The gradient is that of the mean over the rows of all ranks: DistributedDataParallel divides by the number of ranks,
    so each rank's sum is divided by all rows and multiplied by that number.
    """
    with precision.autocast():
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    losses = torch.nn.functional.cross_entropy(logits.float(), batch.classes, reduction="none") * batch.weight
    loss = losses.sum()
    (loss * (cluster.world_size / batch.rows_of_all_ranks)).backward()
    if max_grad_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, LayerNorm) are not decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, eps=settings.adam_epsilon, fused=True)


def _remember(
    outcome: Outcome,
    model: PreTrainedModel,
    epoch: int,
    train_loss: float,
    logits: np.ndarray,
    classes: np.ndarray,
    metric: str,
) -> None:
    """Add the epoch's values, and keep its weights when it is the best so far; of equals the earlier one stays."""
    measured = measure(logits, classes)
    values = {"train_loss": train_loss, "validation_loss": measured.pop("loss"), **measured}
    outcome.epochs.append(values)
    best = outcome.epochs[outcome.best_epoch - 1].get(metric, -math.inf) if outcome.best_epoch else -math.inf
    if not outcome.best_epoch or values.get(metric, -math.inf) > best:
        outcome.best_epoch = epoch
        outcome.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
