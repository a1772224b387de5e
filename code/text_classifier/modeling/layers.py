"""Where in a model a parameter is: its embeddings, one of its encoder layers, or after them."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from text_classifier.contract.errors import SettingsError


def freeze(model: PreTrainedModel, layers: int) -> None:
    """Freeze the embeddings and the first `layers` encoder layers; 0: nothing. Raises SettingsError."""
    if not layers:
        return
    of_parameter = depths(model, "freeze_layers")
    most = head_depth(of_parameter) - 1
    if layers > most:
        raise SettingsError(
            f"freeze_layers={layers} is more than the {most} layers of the model; set it to {most} or less"
        )
    for parameter, depth in of_parameter.items():
        parameter.requires_grad_(depth > layers)


def depths(model: PreTrainedModel, setting: str) -> dict[Tensor, int]:
    """0 for parameters of the embeddings, 1 for those of the first encoder layer, and so on; the pooler, a norm after
    the last layer and the head are one deeper than the last layer.

    Raises SettingsError, about `setting`, for an architecture without such a list of layers.
    """
    stack = _stack(model)
    if stack is None:
        raise SettingsError(
            f"{setting} needs a model with one list of layers, each with weights of its own, and "
            f"{model.config.model_type} has none; remove {setting}, or choose another model"
        )
    found: dict[Tensor, int] = {
        parameter: depth for depth, layer in enumerate(stack, 1) for parameter in layer.parameters()
    }
    # A module's parameters are in the order of the forward pass: what comes before the layers feeds them.
    is_before = True
    for parameter in model.base_model.parameters():
        is_before = is_before and parameter not in found
        found.setdefault(parameter, 0 if is_before else len(stack) + 1)
    embedded = [module for module in model.base_model.modules() if isinstance(module, nn.Embedding)]
    found |= {module.weight: 0 for module in embedded}  # also those that every layer reads, such as relative positions
    for parameter in model.parameters():
        found.setdefault(parameter, len(stack) + 1)
    return found


def head_depth(depths: dict[Tensor, int]) -> int:
    """The depth of the head."""
    return max(depths.values())


def _stack(model: PreTrainedModel) -> nn.ModuleList | None:
    """The list of the encoder layers, if there is exactly one list of as many modules as the configuration has layers.

    In models that share weights (ALBERT) the list is shorter; models with a decoder have a list of its layers too.
    """
    count = getattr(model.config, "num_hidden_layers", None)
    lists = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList)]
    inner = {id(part) for outer in lists for part in outer.modules() if part is not outer}
    stacks = [stack for stack in lists if len(stack) == count and id(stack) not in inner]
    return stacks[0] if len(stacks) == 1 else None
