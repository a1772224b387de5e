"""A bound on what a configuration makes transformers build, before memory is taken or an hour has passed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules import module

from text_classifier.contract.limits import memory_limit
from text_classifier.modeling.refusal import refused
from text_classifier.modeling.tensors import MOST_TENSORS

#: Parameters more than in the files, up to which a model is built, so that those that are absent can be named.
MORE_TENSORS = 1_000

_BYTES = 4  #: of a weight in fp32


@contextmanager
def bounded(tensors: int | None) -> Iterator[None]:
    """A context in which building a model raises SettingsError when its weights exceed the memory of this machine, or
    are far more tensors than `tensors`, the number in its files.

    transformers builds models on the meta device, which takes no memory; but a layer takes a millisecond. The weights
    that then replace those on the meta device are not counted.
    """
    most = MOST_TENSORS if tensors is None else tensors + MORE_TENSORS
    memory, built, weights = memory_limit(), 0, 0

    def count_parameter(_module: nn.Module, _name: str, parameter: torch.Tensor | None) -> None:
        nonlocal built
        built += _is_meta(parameter)
        if built > most:
            there = f"its files have {tensors:,}" if tensors is not None else "large models have hundreds"
            raise refused(f"config.json asks for more than {most:,} weights and biases, and {there}")
        add(_module, _name, parameter)

    def add(_module: nn.Module, _name: str, tensor: torch.Tensor | None) -> None:
        nonlocal weights
        weights += tensor.numel() if _is_meta(tensor) and tensor is not None else 0
        if weights * _BYTES > memory:
            raise refused(
                f"its weights need {weights * _BYTES / 1e9:,.0f} GB or more, and there are {memory / 1e9:,.0f} GB of "
                "memory",
                "use an instance with more memory, or a smaller model",
            )

    handles = [
        module.register_module_parameter_registration_hook(count_parameter),
        module.register_module_buffer_registration_hook(add),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_meta(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and tensor.device.type == "meta"
