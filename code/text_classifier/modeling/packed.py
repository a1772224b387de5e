"""Padding-free forward pass of BERT-family classifiers.

A batch is one row of real tokens, sequence behind sequence. The model stays a transformers model with its own weights;
this module walks its parts, because transformers pads: no sequence classifier of it can be packed as it is. The last
layer computes only what the head reads, the first token of each sequence, which changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.activations import GELUActivation

from text_classifier.modeling.precision import Precision
from text_classifier.ops.attention import Sequences, attend
from text_classifier.ops.linear import ShadowWeights, bindings_for, fused_linear
from text_classifier.tokenization.tokens import Tokens


@dataclass(frozen=True)
class Layer:
    """The parts of one encoder layer: attention, then the feed-forward network, each followed by its norm."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    attention_norm: nn.LayerNorm
    intermediate: nn.Linear
    output: nn.Linear
    output_norm: nn.LayerNorm


@dataclass(frozen=True)
class Encoder:
    """What differs between the families."""

    embeddings: nn.Module
    first_position: int
    layers: tuple[Layer, ...]
    heads: int
    activation: Callable[[torch.Tensor], torch.Tensor]
    embedding_dropout: float
    attention_dropout: float  #: of the attention probabilities
    attention_output_dropout: float
    output_dropout: float
    project: nn.Module | None  #: from the embeddings' width to the layers' (small ELECTRA)
    head: Callable[[torch.Tensor], torch.Tensor]  #: first tokens [sequences, 1, width] to logits


def encoder(model: PreTrainedModel) -> Encoder | None:
    """The model's parts, or None when it is of a family that this module does not know."""
    config = model.config
    if config.model_type == "distilbert":
        return _distilbert(model, config)
    if config.model_type not in ("bert", "roberta", "xlm-roberta", "electra"):
        return None
    if config.is_decoder or getattr(config, "add_cross_attention", False):
        return None
    return _bert(model, config)


def _distilbert(model: Any, config: Any) -> Encoder:
    layers = [
        Layer(
            block.attention.q_lin, block.attention.k_lin, block.attention.v_lin, block.attention.out_lin,
            block.sa_layer_norm, block.ffn.lin1, block.ffn.lin2, block.output_layer_norm,
        )
        for block in model.distilbert.transformer.layer
    ]  # fmt: skip

    def head(first: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model.classifier(model.dropout(functional.relu(model.pre_classifier(first[:, 0]))))
        return logits

    return Encoder(
        model.distilbert.embeddings, 0, tuple(layers), config.n_heads,
        model.distilbert.transformer.layer[0].ffn.activation,
        config.dropout, config.attention_dropout, 0.0, config.dropout, None, head,
    )  # fmt: skip


def _bert(model: Any, config: Any) -> Encoder:
    base = model.base_model
    layers = [
        Layer(
            block.attention.self.query, block.attention.self.key, block.attention.self.value,
            block.attention.output.dense, block.attention.output.LayerNorm,
            block.intermediate.dense, block.output.dense, block.output.LayerNorm,
        )
        for block in base.encoder.layer
    ]  # fmt: skip

    def pooled(first: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model.classifier(model.dropout(base.pooler(first)))
        return logits

    is_roberta = "roberta" in config.model_type
    return Encoder(
        base.embeddings, config.pad_token_id + 1 if is_roberta else 0, tuple(layers), config.num_attention_heads,
        base.encoder.layer[0].intermediate.intermediate_act_fn,
        config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.hidden_dropout_prob,
        config.hidden_dropout_prob, getattr(base, "embeddings_project", None),
        pooled if config.model_type == "bert" else model.classifier,
    )  # fmt: skip


class PackedClassifier(nn.Module):
    """A transformers sequence classifier that reads packed batches. Products of matrices are in `precision`."""

    name = "packed"
    groups_by_length = False
    has_few_shapes = True  #: batches on a GPU

    def __init__(self, model: PreTrainedModel, parts: Encoder, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.parts = parts
        self.precision = precision
        self.dtype = precision.dtype
        is_on_gpu, is_narrow = precision.device.type == "cuda", precision.dtype != torch.float32
        # A size that comes again is replayed from a graph on a GPU. On a CPU in 16 bits oneDNN need not write code for
        # it anew, which takes as long as a product does.
        self.pads_to_bucket = is_on_gpu or is_narrow
        self.kernels = bindings_for(precision.device)
        self.shadow = ShadowWeights(_fused_linears(parts.layers), precision.dtype) if is_on_gpu and is_narrow else None

    @property
    def shadow_weights(self) -> dict[torch.Tensor, torch.Tensor]:
        """Of parameters, which the optimizer is to renew with them."""
        return self.shadow.by_parameter if self.shadow else {}

    def train(self, mode: bool = True) -> PackedClassifier:
        """As torch has it. Only training reads the copies, so whoever else changes weights need not know of them."""
        if mode and self.shadow:
            self.shadow.refresh()
        return super().train(mode)

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> dict[str, torch.Tensor | Sequences]:
        """`forward`'s arguments for rows that stand in falling order of their lengths."""
        lengths = tokens.lengths[rows]
        ids, positions = tokens.flat(rows).astype(np.int64), np.concatenate([np.arange(n) for n in lengths])
        sequences = Sequences.from_lengths(lengths)
        if self.pads_to_bucket:  # up to one of few sizes
            padding = padding_lengths(len(ids), tokens.max_seqlen)
            ids, positions = (np.pad(values, (0, sum(padding))) for values in (ids, positions))
            sequences = Sequences.from_lengths(lengths, padding, tokens.max_seqlen)
        return {"ids": torch.from_numpy(ids), "positions": torch.from_numpy(positions), "sequences": sequences}

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """Logits, float32 [sequences, classes]. ids and positions: int64 [tokens], positions from 0 in a sequence."""
        parts = self.parts
        x = self._embed(ids, positions)
        for layer in parts.layers[:-1]:
            qkv, x = self._linear(x, layer.query, layer.key, layer.value)
            x = self._layer(layer, x, None, qkv, sequences)
        last = parts.layers[-1]
        qkv, x = self._linear(x, last.key, last.value)
        query, first = self._linear(x.index_select(0, sequences.first_tokens), last.query)
        first = self._layer(last, first, query, qkv, sequences)
        return parts.head(first[: sequences.count, None].float()).float()

    def _embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embeddings: Any = self.parts.embeddings
        words = self.kernels.embedding(embeddings.word_embeddings, ids)
        places = self.kernels.embedding(embeddings.position_embeddings, positions + self.parts.first_position)
        kinds = getattr(embeddings, "token_type_embeddings", None)
        kind = words.new_zeros(words.shape[1]) if kinds is None else kinds.weight[0]  # all tokens are of the first kind
        x = self.kernels.add_and_norm(words.to(self.dtype), kind, places.to(self.dtype), embeddings.LayerNorm, 0.0)
        x = self.kernels.dropout(x, self.parts.embedding_dropout if self.training else 0.0)
        return (x if self.parts.project is None else self.parts.project(x.float())).to(self.dtype)

    def _layer(
        self, layer: Layer, x: torch.Tensor, query: torch.Tensor | None, qkv: torch.Tensor, sequences: Sequences
    ) -> torch.Tensor:
        """One layer for the rows of `x`; `query` and `qkv` are those of attention.attend."""
        parts = self.parts
        attended = attend(query, qkv, parts.heads, sequences, parts.attention_dropout if self.training else 0.0)
        x = self._add_and_norm(
            layer.attention_output, attended, x, layer.attention_norm, parts.attention_output_dropout
        )
        if isinstance(parts.activation, GELUActivation):
            inner, x = self._linear(x, layer.intermediate, has_bias=False)
            inner = self.kernels.gelu(inner, layer.intermediate.bias)
        else:
            inner, x = self._linear(x, layer.intermediate)
            inner = parts.activation(inner)
        return self._add_and_norm(layer.output, inner, x, layer.output_norm, parts.output_dropout)

    def _linear(self, x: torch.Tensor, *modules: nn.Linear, has_bias: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        return fused_linear(x, modules, has_bias=has_bias, shadow=self.shadow if self.training else None)

    def _add_and_norm(
        self, module: nn.Linear, x: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, probability: float
    ) -> torch.Tensor:
        """The sum of the residual and of what `module` makes of `x`, normed in fp32."""
        update, _ = self._linear(x, module, has_bias=False)
        return self.kernels.add_and_norm(update, module.bias, residual, norm, probability if self.training else 0.0)


def _fused_linears(layers: Sequence[Layer]) -> Iterator[tuple[nn.Linear, ...]]:
    """The modules that are multiplied together."""
    for layer in layers:
        first = (
            [(layer.query, layer.key, layer.value)]
            if layer is not layers[-1]
            else [(layer.key, layer.value), (layer.query,)]
        )
        yield from (*first, (layer.attention_output,), (layer.intermediate,), (layer.output,))


def padding_lengths(tokens: int, max_seqlen: int) -> list[int]:
    """Lengths of sequences that fill a batch of so many tokens up to one of few sizes, at most a sixteenth more.

    At least one, so that batches of one size have as many sequences; none is longer than `max_seqlen`.
    """
    step = max(64, (1 << tokens.bit_length()) // 32)
    count = math.ceil((step - 1) / max(1, max_seqlen - 1))
    missing = count + -(tokens + count) % step
    return [missing // count + (number < missing % count) for number in range(count)]
