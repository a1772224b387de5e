"""The operations of a training step, as one set of functions per device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from text_classifier.ops.dropout import AttentionBits
from text_classifier.ops.sequences import Sequences


class FusedAdamW(torch.optim.AdamW):
    """torch's AdamW with the attributes that its fused step reads, which torch does not declare.

    Gradients are divided by `grad_scale`, and a step with `found_inf` 1.0 changes nothing.
    """

    grad_scale: Tensor | None
    found_inf: Tensor | None


def with_rates(groups: Iterable[dict[str, Any]], lr: Tensor) -> list[dict[str, Any]]:
    """The parameter groups, each with its element of `lr` as torch's learning rate."""
    return [{**group, "lr": rate} for group, rate in zip(groups, lr.unbind(), strict=True)]


#: The name of plain torch in `Backend.names`.
TORCH = "torch"


@dataclass(frozen=True)
class Backend:
    """The operations on one device. All but `adamw` are differentiable, or parts of a backward pass.

    Activations are fp32, bf16 or fp16 and computed in fp32; parameters (biases, LayerNorm) are fp32.
    """

    #: attention(query, qkv, sequences, heads, dropout_p): softmax attention within each sequence, with dropout of the
    #: probabilities, [queries, width]. qkv: [tokens, 3 * width], queries, keys and values side by side. With `query`
    #: [sequences, width], one query per sequence, it is [tokens, 2 * width]: keys and values.
    attention: Callable[[Tensor | None, Tensor, Sequences, int, float], Tensor]
    #: add_and_norm(update, bias, residual, norm, dropout_p, rows_before=0): norm(residual + dropout(update + bias)),
    #: [rows, width]. `rows_before`: rows of the batch before these, in a micro-batch on a CPU; so in `dropout`.
    add_and_norm: Callable[..., Tensor]
    #: gelu(x, bias): gelu(x + bias), without the tanh approximation, [rows, width].
    gelu: Callable[[Tensor, Tensor], Tensor]
    #: dropout(x, dropout_p, rows_before=0): as torch.nn.functional.dropout in training.
    dropout: Callable[..., Tensor]
    #: weight_grad(d_output, x): d_output^T @ x, float32 [outputs, inputs].
    weight_grad: Callable[[Tensor, Tensor], Tensor]
    #: bias_grad(d_output): the sum over the rows, float32 [outputs].
    bias_grad: Callable[[Tensor], Tensor]
    #: adamw(groups, lr, epsilon, shadow_weights): an optimizer that reads the learning rate of each group from `lr`,
    #: float32 [groups] on the device. Its steps also update the shadow weights (linear.py).
    adamw: Callable[[Iterable[dict[str, Any]], Tensor, float, Mapping[Tensor, Tensor]], FusedAdamW]

    attention_bits: AttentionBits  #: defines the mask of `attention`
    is_asynchronous: bool  #: steps run on the device while the host goes on, and can be captured in CUDA graphs
    wants_few_shapes: bool  #: each new number of tokens costs time once
    keeps_shadow_weights: bool  #: whether 16-bit copies of the weights pay
    #: Rows up to which oneDNN's matmuls with weights in its own layout are faster, outside training (linear.py).
    prepacked_rows: int
    fallback: Backend | None = None  #: plain torch on the same device; None in itself
    #: What computes each operation: TORCH, "avx512", "cuda", ...
    names: Mapping[str, str] = field(default_factory=dict)

    def without(self, operations: Iterable[str]) -> Backend:
        """With these operations in plain torch."""
        if self.fallback is None:
            return self
        plain = {name: getattr(self.fallback, name) for name in operations}
        return replace(self, **plain, names={**self.names, **dict.fromkeys(plain, TORCH)})

    def agreed(self, any_rank_each: Callable[..., list[bool]]) -> Backend:
        """With the native operations that all ranks have.

        The optimizer must be the same everywhere: ranks apply the same gradient, and would drift apart by its rounding.
        The others need not, as gradients are averaged; they are so that one list is true for the whole job.
        """
        lacking = any_rank_each(*(name == TORCH for name in self.names.values()))
        return self.without([name for name, lacks in zip(self.names, lacking, strict=True) if lacks])


#: The fields that are operations, each of which may be native.
OPERATIONS = ("attention", "add_and_norm", "gelu", "dropout", "weight_grad", "bias_grad", "adamw")
