"""One optimizer step, and its capture in CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.precision import LossScale
from text_classifier.ops.backend import FusedAdamW
from text_classifier.training.batches import Batch
from text_classifier.training.losses import RowLosses

#: The sum of a rank's losses, and a number that is not finite if a loss or a gradient is not (with fp16 only once the
#: loss scale cannot fall further). Both stay on the device.
Outcome = tuple[torch.Tensor, torch.Tensor]

#: Sums a tensor over all ranks, in place.
AllReduce = Callable[[torch.Tensor], object]

#: Takes the step once its gradients are computed.
Finish = Callable[[], Outcome]


class Steps(Protocol):
    """Steps in two parts, the first of which can be repeated if memory runs out."""

    def compute(self, micro_batches: Sequence[Batch]) -> Finish:
        """Compute this rank's gradients of all micro-batches together. The weights stay as they are."""

    def release(self) -> None:
        """Free what an attempt that failed has left."""


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
        self._gradients: torch.Tensor | None = None  #: of several ranks or micro-batches: all, one after the other
        self._views: list[tuple[torch.nn.Parameter, torch.Tensor]] = []  #: each parameter's part of them

    @property
    def has_several_ranks(self) -> bool:
        """Whether `reduce` does something."""
        return self._all_reduce is not None

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step on a batch on the classifier's device, without synchronizing with it."""
        return self.compute([batch])()

    def compute(self, micro_batches: Sequence[Batch]) -> Finish:
        """As Steps.compute, on batches on the classifier's device."""
        first, *others = micro_batches
        random = torch.get_rng_state() if others and first.repeats_dropout else None
        loss = self.first_of_several(first) if others else self.backward(first)
        for other in others:
            if random is not None:
                torch.set_rng_state(random)
            loss = loss + self.accumulate(other)

        def finish() -> Outcome:
            self.reduce()
            return outcome(loss, self.update())

        return finish

    def backward(self, batch: Batch) -> torch.Tensor:
        """Compute this rank's gradients. Returns the sum of its losses."""
        self._optimizer.zero_grad(set_to_none=True)  # a replayed `update` has left them
        loss = self._add_gradients(batch)
        if self.has_several_ranks:
            self._make_contiguous()
        return loss

    def first_of_several(self, batch: Batch) -> torch.Tensor:
        """As `backward`, of the first micro-batch: `accumulate` adds the others."""
        loss = self.backward(batch)
        if not self.has_several_ranks:
            self._make_contiguous()
        return loss

    def accumulate(self, batch: Batch) -> torch.Tensor:
        """Add the gradients of another micro-batch of the step. Returns the sum of its losses."""
        self._restore_views()
        return self._add_gradients(batch)

    def _add_gradients(self, batch: Batch) -> torch.Tensor:
        losses = self._row_losses(self._classifier(**batch.inputs), batch.targets) * batch.weight
        loss = losses.sum()
        (loss * (self._loss_scale.value * (1 / batch.rows_of_all_ranks))).backward()
        return loss.detach()

    @torch.no_grad()
    def _make_contiguous(self) -> None:
        """Move all gradients into one tensor, at the same place in each step, which `reduce` sums up at once.

        Raises SettingsError for a model that does not compute the same gradients in each step.
        """
        parameters = [parameter for parameter in self._parameters if parameter.grad is not None]
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._gradients is None:
            sizes = [gradient.numel() for gradient in found]
            self._gradients = torch.empty(sum(sizes), device=found[0].device)
            parts = zip(parameters, self._gradients.split(sizes), strict=True)
            self._views = [(parameter, part.view_as(parameter)) for parameter, part in parts]
        if [id(parameter) for parameter in parameters] != [id(parameter) for parameter, _ in self._views]:
            raise SettingsError(
                "the model computes gradients of other weights in each step, which is not supported with several GPUs "
                "or micro-batches; use one GPU and a smaller train_batch_size, or another model"
            )
        torch._foreach_copy_([view for _, view in self._views], found)
        self._restore_views()

    def _restore_views(self) -> None:
        """Let the gradients be those in `_gradients`, where a replayed graph has put them."""
        for parameter, view in self._views:
            parameter.grad = view

    def reduce(self) -> None:
        """Sum the gradients over all ranks."""
        if self._all_reduce is not None:
            assert self._gradients is not None
            self._all_reduce(self._gradients)

    def release(self) -> None:
        """As Steps.release."""
        self._optimizer.zero_grad(set_to_none=True)

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


class EagerStep:
    """Steps on a device other than the host, kernel by kernel. Batches are on the host."""

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self._device = device

    def compute(self, micro_batches: Sequence[Batch]) -> Finish:
        """As Steps.compute."""
        return self._step.compute([batch.pinned().to(self._device) for batch in micro_batches])

    def release(self) -> None:
        """As Steps.release."""
        self._step.release()
        torch.cuda.empty_cache()


class GraphedStep:
    """Steps on a GPU as CUDA graphs, so that kernels need not be launched one by one. Batches are on the host.

    With several ranks, what is before the all-reduce is one graph and what is after it another: while it is captured,
    NCCL may exchange addresses, and would wait for ranks whose batches have another shape and that capture later. With
    micro-batches each is a graph, and the update another.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self._device = device
        self._forget()

    def _forget(self) -> None:
        step, device = self._step, self._device
        self.whole = Captured(step, device)
        self.backward = Captured(step.backward, device)
        self.first_of_several = Captured(step.first_of_several, device)
        self.accumulate = Captured(step.accumulate, device)
        self.update = Captured(step.update, device)

    def __call__(self, batch: Batch) -> Outcome:
        """Take the step."""
        return self.compute([batch])()

    def compute(self, micro_batches: Sequence[Batch]) -> Finish:
        """As Steps.compute, except that a replayed graph of the whole step has also updated the weights; the function
        returned then only gives its outcome."""
        first, *others = (batch.pinned() for batch in micro_batches)
        if not others and not self._step.has_several_ranks:
            if self.whole.mark_seen(first):
                return self._step.compute([first.to(self._device)])
            loss, checked = (part.clone() for part in self.whole(first))
            return lambda: (loss, checked)
        loss = (self.first_of_several if others else self.backward)(first).clone()
        for other in others:
            loss += self.accumulate(other)

        def finish() -> Outcome:
            self._step.reduce()
            return outcome(loss, self.update())

        return finish

    def release(self) -> None:
        """As Steps.release. Graphs hold memory, so all are captured anew."""
        self._step.release()
        self._forget()
        torch.cuda.empty_cache()


class Captured:
    """A function of batches as CUDA graphs, one per shape. The next call overwrites what it returns.

    The first call with a shape runs eagerly, the second is captured: a shape that occurs once costs no capture. The
    calling thread must use a stream other than the default one (device.py), which cannot be captured.
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()  # graphs are replayed one at a time, so they share memory
        self.graphs: dict[object, _Graph | None] = {}  #: by the batches' shapes; None: seen once

    def mark_seen(self, *batches: Batch) -> bool:
        """Record this shape. Returns whether it is new; the caller must then run the function eagerly."""
        shape = tuple(batch.shape for batch in batches)
        if shape in self.graphs:
            return False
        self.graphs[shape] = None
        return True

    def __call__(self, *batches: Batch) -> Any:
        """Call the function with these batches, which are in pinned memory."""
        if self.mark_seen(*batches):
            return self._function(*(batch.to(self._device) for batch in batches))
        shape = tuple(batch.shape for batch in batches)
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
        try:
            with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
                self._result = function(*batches)
        except Exception:
            # If the end of the capture fails too, torch leaves the pool in use, with a pointer to this graph, and would
            # never free it. If not, the first call raises, and the graph frees the pool.
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(stream.device_index, pool)
                torch._C._cuda_releasePool(stream.device_index, pool)
            raise

    def replay(self, batches: Sequence[Batch]) -> Any:
        for own, new in zip(self._batches, batches, strict=True):
            own.copy_(new)
        self._graph.replay()
        return self._result
