"""One optimizer step, and its replay from a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.load import Classifier
from text_classifier.modeling.precision import LossScale
from text_classifier.ops.cuda.adamw import AdamW
from text_classifier.tasks.base import Task
from text_classifier.training.batches import Batch
from text_classifier.training.losses import ROW_LOSSES

#: The sum of a rank's losses, and a number that is not finite when one of them or a gradient is not, though the loss
#: scale cannot fall any further. Both stay on the device.
Outcome = tuple[torch.Tensor, torch.Tensor]

TakeStep = Callable[[Batch], Outcome]


class Step:
    """Gradients of a batch, clipped, and AdamW.

    The gradient is that of the mean over the rows of all ranks: DistributedDataParallel divides by the number of ranks,
    so each rank's sum is divided by all rows and multiplied by that number.
    """

    def __init__(
        self,
        classifier: torch.nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        loss_scale: LossScale,
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
        """Take the step. The batch is on the classifier's device; nothing waits for that."""
        losses = self._row_losses(self._classifier(**batch.inputs), batch.targets) * batch.weight
        loss = losses.sum()
        scale = self._loss_scale.value.clone()
        (loss * (scale * (self._world_size / batch.rows_of_all_ranks))).backward()
        gradients = [parameter.grad for parameter in self._classifier.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / scale
        # The fused AdamW divides the gradients by this as it reads them, which spares a pass over all of them.
        clipping = (norm / self._max_grad_norm).clamp(min=1.0) if self._max_grad_norm else 1.0
        self._optimizer.grad_scale = scale * clipping
        if self._loss_scale.is_used:
            overflowed = norm.isfinite().logical_not().float()
            self._optimizer.found_inf = overflowed  # 1.0: the step is left out
            self._loss_scale.update(overflowed)
            norm = torch.where(scale > 1, 0.0, norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach(), loss.detach() + 0 * norm


class GraphedStep:
    """Steps on a GPU without launching their kernels one by one: those of a shape are recorded once, then replayed.

    The first step of a shape is an ordinary one, the second is recorded: a shape that comes once costs no recording.
    Batches are on the host. All work of the process must be on one stream that is not the default one: that cannot be
    recorded. https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, step: TakeStep, device: torch.device) -> None:
        self._step = step
        self._device = device
        self._recordings: dict[object, _Recording | None] = {}  #: by the batch's shape; None: met once
        self._pool = torch.cuda.graph_pool_handle()  # one is replayed at a time, so they share their memory

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step."""
        batch, shape = batch.pinned(), batch.shape
        if shape not in self._recordings:
            self._recordings[shape] = None
            return self._step(batch.to(self._device))
        recording = self._recordings[shape]
        if recording is None:
            recording = self._recordings[shape] = _Recording(self._step, batch.to(self._device), self._pool)
        return recording.replay(batch)


class _Recording:
    def __init__(self, step: TakeStep, batch: Batch, pool: tuple[int, int]) -> None:
        self._batch = batch
        self._graph = torch.cuda.CUDAGraph()
        # "thread_local": the thread that writes a checkpoint may go on.
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
            self._outcome = step(batch)

    def replay(self, batch: Batch) -> Outcome:
        self._batch.copy_(batch)
        self._graph.replay()
        loss, is_finite = self._outcome
        return loss.clone(), is_finite.clone()


def adamw(
    classifier: Classifier, settings: Settings, device: torch.device
) -> tuple[torch.optim.Optimizer, torch.Tensor]:
    """The optimizer, and its learning rate: a tensor on the device, which a recorded step reads each time.

    Vectors (biases, LayerNorm) are not decayed.
    """
    rate = torch.tensor(settings.learning_rate, device=device)
    parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    if device.type == "cuda":
        return AdamW(groups, rate, settings.adam_epsilon, classifier.shadow_weights), rate
    return torch.optim.AdamW(groups, rate, eps=settings.adam_epsilon, fused=True), rate


def warmup_and_decay(step: int, warmup_steps: int, total_steps: int) -> float:
    """What the learning rate is multiplied by in a step, counted from 0: it rises linearly, then falls to 0 linearly.

    As transformers.get_linear_schedule_with_warmup has it, but without a state: a job may go on at any step.
    """
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
