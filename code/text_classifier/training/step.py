"""One optimizer step, and its capture in CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from text_classifier.modeling.precision import LossScale
from text_classifier.ops.backend import FusedAdamW
from text_classifier.training.batches import Batch
from text_classifier.training.losses import RowLosses

#: The sum of a rank's losses, and a number that is not finite if a loss or a gradient is not (with fp16 only once the
#: loss scale cannot fall further). Both stay on the device.
Outcome = tuple[torch.Tensor, torch.Tensor]

TakeStep = Callable[[Batch], Outcome]

#: Sums a tensor over all ranks, in place.
AllReduce = Callable[[torch.Tensor], object]


class Step:
    """Forward, backward, the sum of the gradients over all ranks, gradient clipping and AdamW.

    The gradient is that of the mean over the rows of all ranks.
    """

    def __init__(
        self,
        classifier: torch.nn.Module,
        row_losses: RowLosses,
        optimizer: FusedAdamW,
        loss_scale: LossScale,
        *,
        max_grad_norm: float,
        all_reduce: AllReduce | None = None,  # None: there is one rank
    ) -> None:
        self._parameters = list(classifier.parameters())
        self._classifier = classifier
        self._row_losses = row_losses
        self._optimizer = optimizer
        self._loss_scale = loss_scale
        self._max_grad_norm = max_grad_norm
        self._all_reduce = all_reduce
        self._gradients: torch.Tensor | None = None  #: of several ranks: all gradients, one after the other

    @property
    def has_several_ranks(self) -> bool:
        """Whether `reduce` does something."""
        return self._all_reduce is not None

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step on a batch on the classifier's device, without synchronizing with it."""
        loss = self.backward(batch)
        self.reduce()
        return outcome(loss, self.update())

    def backward(self, batch: Batch) -> torch.Tensor:
        """Compute this rank's gradients. Returns the sum of its losses."""
        self._optimizer.zero_grad(set_to_none=True)  # a replayed `update` has left them
        losses = self._row_losses(self._classifier(**batch.inputs), batch.targets) * batch.weight
        loss = losses.sum()
        (loss * (self._loss_scale.value * (1 / batch.rows_of_all_ranks))).backward()
        if self.has_several_ranks:
            self._make_contiguous()
        return loss.detach()

    @torch.no_grad()
    def _make_contiguous(self) -> None:
        """Move all gradients into one tensor, at the same place in each step, which `reduce` sums up at once."""
        parameters = [parameter for parameter in self._parameters if parameter.grad is not None]
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sizes = [gradient.numel() for gradient in found]
        if self._gradients is None:
            self._gradients = torch.empty(sum(sizes), device=found[0].device)
        views = [part.view_as(one) for part, one in zip(self._gradients.split(sizes), found, strict=True)]
        torch._foreach_copy_(views, found)
        for parameter, view in zip(parameters, views, strict=True):
            parameter.grad = view

    def reduce(self) -> None:
        """Sum the gradients over all ranks."""
        if self._all_reduce is not None:
            assert self._gradients is not None
            self._all_reduce(self._gradients)

    def update(self) -> torch.Tensor:
        """Clip the gradients and update the weights. Returns their norm; 0 if the loss scale made it infinite."""
        scale = self._loss_scale.value.clone()
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
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
        return norm


def outcome(loss: torch.Tensor, norm: torch.Tensor) -> Outcome:
    """The outcome of a step, from the sum of the losses and the norm of the gradients."""
    return loss, loss + 0 * norm


class GraphedStep:
    """Steps on a GPU as CUDA graphs, so that kernels need not be launched one by one. Batches are on the host.

    With several ranks, what is before the all-reduce is one graph and what is after it another: while it is captured,
    NCCL may exchange addresses, and would wait for ranks whose batches have another shape and that capture later.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self.whole = Captured(step, device)
        self.backward = Captured(step.backward, device)
        self.update = Captured(step.update, device)

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step."""
        batch = batch.pinned()
        if not self._step.has_several_ranks:
            loss, is_finite = self.whole(batch)
            return loss.clone(), is_finite.clone()
        loss = self.backward(batch).clone()
        self._step.reduce()
        return outcome(loss, self.update())


class Captured:
    """A function of batches as CUDA graphs, one per shape. The next call overwrites what it returns.

    The first call with a shape runs eagerly, the second is captured: a shape that occurs once costs no capture. The
    process must work on a stream other than the default one (device.py), which cannot be captured.
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()  # graphs are replayed one at a time, so they share memory
        self.graphs: dict[object, _Graph | None] = {}  #: by the batches' shapes; None: seen once

    def __call__(self, *batches: Batch) -> Any:
        """Call the function with these batches, which are in pinned memory."""
        shape = tuple(batch.shape for batch in batches)
        if shape not in self.graphs:
            self.graphs[shape] = None
            return self._function(*(batch.to(self._device) for batch in batches))
        graph = self.graphs[shape]
        if graph is None:
            on_device = [batch.to(self._device) for batch in batches]
            graph = self.graphs[shape] = _Graph(self._function, on_device, self._pool)
        return graph.replay(batches)


class _Graph:
    def __init__(self, function: Callable[..., Any], batches: Sequence[Batch], pool: Any) -> None:
        self._batches = batches
        self._graph = torch.cuda.CUDAGraph()
        # "thread_local": another thread may be writing a checkpoint.
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
            self._result = function(*batches)

    def replay(self, batches: Sequence[Batch]) -> Any:
        for own, new in zip(self._batches, batches, strict=True):
            own.copy_(new)
        self._graph.replay()
        return self._result
