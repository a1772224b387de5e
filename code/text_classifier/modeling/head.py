"""The head of a loaded classifier: whose outputs are its rows?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from text_classifier.contract.errors import listed

#: Names that transformers gives to outputs without names.
_UNNAMED = re.compile(r"LABEL_\d+")


def fit_head(model: PreTrainedModel, old: Mapping[int, str], classes: Sequence[str], new: set[str]) -> str | None:
    """Make the rows of a head that was loaded those of `classes`. Returns what was done, for the log.

    `old` are the names of its outputs in the model's config, `new` the weights that were not loaded. With the same
    names in another order the rows are moved; with other names the head is made anew. Names such as LABEL_0 say
    nothing: the rows stay.
    """
    names = [str(old[index]) for index in sorted(old)]
    layers = _output_layers(model, len(classes))
    if len(names) != len(classes) or not layers or any(f"{name}.weight" in new for name in layers):
        return None
    if names == list(classes) or all(_UNNAMED.fullmatch(name) for name in names):
        return None
    place = {name.casefold(): index for index, name in enumerate(names)}
    order = [place.get(name.casefold()) for name in classes]
    if len(place) == len(names) and None not in order:
        with torch.no_grad():
            for layer in layers.values():
                layer.weight.copy_(layer.weight[order].clone())
                if layer.bias is not None:
                    layer.bias.copy_(layer.bias[order].clone())
        return f"the model's head has the classes {listed(names)}: its rows were put into the order of the data's"
    for layer in layers.values():
        model._init_weights(layer)
    return f"the model's head has other classes ({listed(names)}) than the data: a new head is trained"


def _output_layers(model: PreTrainedModel, outputs: int) -> dict[str, Any]:
    """The last linear layers, which have an output for each class."""
    prefix = f"{model.base_model_prefix}."
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs and not name.startswith(prefix)
        and not name.endswith(("dense", "pre_classifier"))
    }  # fmt: skip
