"""Memory that runs out on a CPU as on a GPU: passes of a classifier over more tokens than a limit are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Refusing:
    """Refuses what a classifier computes of more than `limit` tokens, padding included; `refused` counts that.

    In training the refusal comes in the forward or, with `in_backward`, in the backward pass.
    """

    def __init__(self, limit: int, *, in_backward: bool = False) -> None:
        self.limit = limit
        self.in_backward = in_backward
        self.refused = 0
        self.largest = 0  #: tokens that were computed at once

    def watch(self, classifier: nn.Module) -> None:
        """Watch the passes of this classifier."""
        forward: Any = classifier.forward
        classifier.forward = lambda *arguments, **inputs: self.call(forward, *arguments, **inputs)  # type: ignore[method-assign]

    def call(self, forward: Callable[..., Tensor], *arguments: Any, **inputs: Any) -> Tensor:
        """forward(...), or torch's error."""
        tensors = [value for value in (*arguments, *inputs.values()) if isinstance(value, Tensor)]
        tokens = max(tensor.numel() for tensor in tensors)
        is_refused, waits = tokens > self.limit, self.in_backward and torch.is_grad_enabled()
        if is_refused and not waits:
            self._refuse()
        logits = forward(*arguments, **inputs)
        if is_refused:
            logits.register_hook(lambda _: self._refuse())
        else:
            self.largest = max(self.largest, tokens)
        return logits

    def _refuse(self) -> None:
        self.refused += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
