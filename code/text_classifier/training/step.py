"""One optimizer step, and its capture in CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.load import Classifier
from text_classifier.modeling.precision import LossScale
from text_classifier.ops.backend import FusedAdamW
from text_classifier.tasks.base import Task
from text_classifier.training.batches import Batch
from text_classifier.training.losses import ROW_LOSSES

#: The sum of a rank's losses, and a number that is not finite if a loss or a gradient is not (with fp16 only once the
#: loss scale cannot fall further). Both stay on the device.
Outcome = tuple[torch.Tensor, torch.Tensor]

TakeStep = Callable[[Batch], Outcome]


class Step:
    """Forward, backward, gradient clipping and AdamW.

    The gradient is that of the mean over the rows of all ranks: DistributedDataParallel averages over the ranks, so
    each rank's sum is divided by the rows of all ranks and multiplied by the number of ranks.
    """

    def __init__(
        self,
        classifier: torch.nn.Module,
        task: Task,
        optimizer: FusedAdamW,
        loss_scale: LossScale,
        *,
        max_grad_norm: float,
        world_size: int,
    ) -> None:
        self._classifier = classifier
        self._row_losses = ROW_LOSSES[task.problem_type]
        self._optimizer = optimizer
        self._loss_scale = loss_scale
        self._max_grad_norm = max_grad_norm
        self._world_size = world_size

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step on a batch on the classifier's device, without synchronizing with it."""
        losses = self._row_losses(self._classifier(**batch.inputs), batch.targets) * batch.weight
        loss = losses.sum()
        scale = self._loss_scale.value.clone()
        (loss * (scale * (self._world_size / batch.rows_of_all_ranks))).backward()
        gradients = [parameter.grad for parameter in self._classifier.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / scale
        # The fused AdamW divides gradients by grad_scale as it reads them, which saves a pass over all gradients.
        clipping = (norm / self._max_grad_norm).clamp(min=1.0) if self._max_grad_norm else 1.0
        self._optimizer.grad_scale = scale * clipping
        if self._loss_scale.is_used:
            overflowed = norm.isfinite().logical_not().float()
            self._optimizer.found_inf = overflowed  # 1.0: the step is skipped
            self._loss_scale.update(overflowed)
            norm = torch.where(scale > 1, 0.0, norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach(), loss.detach() + 0 * norm


class GraphedStep:
    """Steps on a GPU as CUDA graphs, one per batch shape, so that kernels need not be launched one by one.

    The first step of a shape runs eagerly, the second is captured: a shape that occurs once costs no capture. Batches
    are on the host. The process must work on a stream other than the default one (device.py), which cannot be captured.
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, step: TakeStep, device: torch.device) -> None:
        self._step = step
        self._device = device
        self._captured: dict[object, _CapturedStep | None] = {}  #: by the batch's shape; None: seen once
        self._pool = torch.cuda.graph_pool_handle()  # graphs are replayed one at a time, so they share memory

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step."""
        batch, shape = batch.pinned(), batch.shape
        if shape not in self._captured:
            self._captured[shape] = None
            return self._step(batch.to(self._device))
        captured = self._captured[shape]
        if captured is None:
            captured = self._captured[shape] = _CapturedStep(self._step, batch.to(self._device), self._pool)
        return captured.replay(batch)


class _CapturedStep:
    def __init__(self, step: TakeStep, batch: Batch, pool: Any) -> None:
        self._batch = batch
        self._graph = torch.cuda.CUDAGraph()
        # "thread_local": another thread may be writing a checkpoint.
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
            self._outcome = step(batch)

    def replay(self, batch: Batch) -> Outcome:
        self._batch.copy_(batch)
        self._graph.replay()
        loss, is_finite = self._outcome
        return loss.clone(), is_finite.clone()


def adamw(classifier: Classifier, settings: Settings) -> tuple[FusedAdamW, torch.Tensor]:
    """The optimizer, and its learning rate: a tensor on the device, which a CUDA graph reads at each replay.

    No weight decay for vectors (biases, LayerNorm).
    """
    rate = torch.tensor(settings.learning_rate, device=classifier.precision.device)
    parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return classifier.ops.adamw(groups, rate, settings.adam_epsilon, classifier.shadow_weights), rate


def warmup_and_decay(step: int, warmup_steps: int, total_steps: int) -> float:
    """The learning rate's factor in a step, counted from 0: linear warm-up, then linear decay to 0.

    The schedule of transformers.get_linear_schedule_with_warmup, without state: a job may resume at any step.
    """
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
