"""Padding-free forward pass of BERT-family classifiers.

A batch is one row of tokens, all sequences concatenated. The model stays a transformers model with its weights; this
module calls its parts, because transformers' sequence classifiers pad. The last layer computes only what the head
reads, the first token of each sequence, which changes no result.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.activations import GELUActivation

from text_classifier.modeling.parts import Encoder, Layer
from text_classifier.modeling.precision import Precision
from text_classifier.ops.linear import (
    ROW_STEP,
    PrepackedWeights,
    ShadowWeights,
    embedding,
    fused_linear,
)
from text_classifier.ops.selftest import LONGEST, Shape, choose
from text_classifier.ops.sequences import Place, Sequences
from text_classifier.tokenization.tokens import Tokens

#: Tokens and sequences of a batch that is padded in small steps, outside training.
SMALL, FEW = 256, 4


def positions_of(ids: np.ndarray, lengths: np.ndarray, first_position: int) -> np.ndarray:
    """The position of each token in its sequence, int64 [tokens]. ids int64 [tokens].

    Where positions start after the padding id, a padding token within a text (`<pad>` is text too) counts for none and
    has the position before the first: create_position_ids_from_input_ids of transformers' RoBERTa.
    """
    positions = np.concatenate([np.arange(length) for length in lengths])
    is_padding = ids == first_position - 1
    if first_position and is_padding.any():
        before = np.cumsum(is_padding) - is_padding
        starts = np.cumsum(lengths) - lengths
        positions -= before - np.repeat(before[starts], lengths)
        positions[is_padding] = -1
    return positions


class PackedClassifier(nn.Module):
    """A transformers sequence classifier on packed batches. Matmuls are in `precision`."""

    name = "packed"
    is_length_grouped = False
    supports_cuda_graphs = True

    def __init__(
        self, model: PreTrainedModel, parts: Encoder, precision: Precision, max_seqlens: Sequence[int] = (LONGEST,)
    ) -> None:
        super().__init__()
        self.model = model
        self.parts = parts
        self.precision = precision
        self.dtype = precision.dtype
        self.ops = choose(precision.device, precision.dtype, _shape(parts, max_seqlens))
        self.pads_to_bucket = self.ops.wants_few_shapes
        has_shadow = self.ops.keeps_shadow_weights
        self.shadow = self._shadow() if has_shadow else None
        # Outside training, without `shadow`:
        self._frozen: ShadowWeights | None = None
        self._prepacked: PrepackedWeights | None = None  # for up to `ops.prepacked_rows`

    def _shadow(self) -> ShadowWeights:
        return ShadowWeights(_fused_linears(self.parts.layers), self.dtype)

    @property
    def shadow_weights(self) -> dict[Tensor, Tensor]:
        """16-bit copies by parameter, which the optimizer must update together with the parameters."""
        return self.shadow.by_parameter if self.shadow else {}

    def train(self, mode: bool = True) -> PackedClassifier:
        """As nn.Module.train. Renews the copies of the weights, in case other code has changed the weights.

        Outside training the forward passes read copies made here, in the dtype of the matmuls and fused: a change of
        the weights takes effect with the next call of `eval`. On a CPU with oneDNN they are in its layout: in bf16 for
        all batches, in fp32 for few rows (serving's single texts).
        """
        if self.shadow:
            self.shadow.refresh()
            return super().train(mode)
        self._frozen = self._prepacked = None
        if not mode and self.ops.prepacked_rows:
            self._prepacked = PrepackedWeights(_fused_linears(self.parts.layers), self.dtype)
        if not mode and not self._is_prepacked_alone:
            self._frozen = self._shadow()
        return super().train(mode)

    @property
    def _is_prepacked_alone(self) -> bool:
        return self.ops.prepacked_rows == sys.maxsize

    @torch.no_grad()
    def freeze(self) -> None:
        """As `eval`, for good, in less memory: what the forward passes read replaces the weights. Same logits."""
        # transformers maps the file of the weights, which stays in memory as long as any of them is used.
        for parameter in self.parameters():
            parameter.data = parameter.clone()
        self.eval()
        if copies := self.shadow or self._frozen:
            for copied, copy in copies.by_parameter.items():
                if copied.ndim > 1:  # biases are fp32 in backend.py's operations
                    copied.data = copy
        else:
            for module in itertools.chain.from_iterable(_fused_linears(self.parts.layers)):
                module.weight.data = module.weight.new_empty(0)
        words: Any = self.parts.embeddings.word_embeddings
        words.weight.data = words.weight.to(self.dtype)

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Tensor | Sequences]:
        """`forward`'s arguments for rows in descending order of their lengths."""
        lengths = tokens.lengths[rows]
        ids = tokens.flat(rows).astype(np.int64)
        of_tokens = {"ids": ids, "positions": positions_of(ids, lengths, self.parts.first_position)}
        types = tokens.types(rows)
        if types is not None and self.parts.type_embeddings is not None:
            of_tokens["types"] = types
        sequences = Sequences.from_lengths(lengths)
        if self.pads_to_bucket:
            padding = self._padding(len(ids), len(rows), tokens.max_seqlen)
            of_tokens = {name: np.pad(values, (0, sum(padding))) for name, values in of_tokens.items()}
            sequences = Sequences.from_lengths(lengths, padding, tokens.max_seqlen)
        return {**{name: torch.from_numpy(values) for name, values in of_tokens.items()}, "sequences": sequences}

    def _padding(self, tokens: int, sequences: int, max_seqlen: int) -> list[int]:
        if self.training:
            return padding_lengths(tokens, max_seqlen, 64)
        # The last layer has a row for each sequence; more than a few are padded to few numbers of rows, too.
        step = 1 if sequences <= FEW else ROW_STEP
        return padding_lengths(tokens, max_seqlen, 16 if tokens <= SMALL else 64, sequences, step)

    def forward(self, ids: Tensor, positions: Tensor, sequences: Sequences, types: Tensor | None = None) -> Tensor:
        """Logits, float32 [sequences, classes]. ids, positions, types: int64 [tokens]; positions are those in the
        sequence, types 0 or 1 (None: all 0)."""
        parts = self.parts
        if self.ops.is_asynchronous:
            sequences = sequences.placed(Place())  # a graph has no place: its micro-batches draw a dropout of their own
        x = self._embed(ids, positions, types, sequences.place)
        for layer in parts.layers[:-1]:
            qkv, x = self._linear(x, layer.query, layer.key, layer.value)
            x = self._layer(layer, x, None, qkv, sequences)
        last = parts.layers[-1]
        qkv, x = self._linear(x, last.key, last.value)
        query, first = self._linear(x.index_select(0, sequences.first_tokens), last.query)
        first = self._layer(last, first, query, qkv, sequences)
        return self._head(first[: sequences.count, None].float(), sequences.place)

    def _head(self, first: Tensor, place: Place) -> Tensor:
        """Logits of first tokens [sequences, 1, width]. In a micro-batch, dropout draws for all rows of the batch."""
        if not place.batch_rows:
            return self.parts.head(first).float()
        end = place.rows + len(first)
        whole = functional.pad(first, (0, 0, 0, 0, place.rows, place.batch_rows - end))
        return self.parts.head(whole)[place.rows : end].float()

    def _embed(self, ids: Tensor, positions: Tensor, types: Tensor | None, place: Place) -> Tensor:
        embeddings: Any = self.parts.embeddings
        words = embedding(embeddings.word_embeddings, ids)
        position = embedding(embeddings.position_embeddings, positions + self.parts.first_position)
        table = self.parts.type_embeddings
        first_type = position.new_zeros(words.shape[1]) if table is None else table.weight[0]
        if table is not None and types is not None:
            # A look-up of two rows would have all tokens add to the same gradients, on a GPU one after another.
            position = position + types[:, None] * (table.weight[1] - first_type)
        x = self.ops.add_and_norm(words.to(self.dtype), first_type, position.to(self.dtype), embeddings.LayerNorm, 0.0)
        x = self.ops.dropout(x, self.parts.embedding_dropout if self.training else 0.0, place.tokens)
        return (x if self.parts.project is None else self.parts.project(x.float())).to(self.dtype)

    def _layer(self, layer: Layer, x: Tensor, query: Tensor | None, qkv: Tensor, sequences: Sequences) -> Tensor:
        """One layer for the rows of `x`; `query` and `qkv` as in Backend.attention."""
        parts = self.parts
        dropout_p = parts.attention_dropout if self.training else 0.0
        rows_before = sequences.place.tokens if query is None else sequences.place.rows
        attended = self.ops.attention(query, qkv, sequences, parts.heads, dropout_p)
        x = self._add_and_norm(
            layer.attention_output, attended, x, layer.attention_norm, parts.attention_output_dropout, rows_before
        )
        if isinstance(parts.activation, GELUActivation):
            inner, x = self._linear(x, layer.intermediate, has_bias=False)
            inner = self.ops.gelu(inner, layer.intermediate.bias)
        else:
            inner, x = self._linear(x, layer.intermediate)
            inner = parts.activation(inner)
        return self._add_and_norm(layer.output, inner, x, layer.output_norm, parts.output_dropout, rows_before)

    def _linear(self, x: Tensor, *modules: nn.Linear, has_bias: bool = True) -> tuple[Tensor, Tensor]:
        """The modules' outputs, and `x` for its next use: one GEMM accumulates the gradients of both uses."""
        if self._prepacked and x.shape[0] <= self.ops.prepacked_rows and not torch.is_grad_enabled():
            return self._prepacked.linear(x, modules, has_bias=has_bias), x
        return fused_linear(self.ops, x, modules, has_bias=has_bias, shadow=self.shadow or self._frozen)

    def _add_and_norm(
        self, module: nn.Linear, x: Tensor, residual: Tensor, norm: nn.LayerNorm, dropout_p: float, rows_before: int
    ) -> Tensor:
        """norm(residual + dropout(module(x))); `rows_before` as in Backend.add_and_norm."""
        update, _ = self._linear(x, module, has_bias=False)
        dropout_p = dropout_p if self.training else 0.0
        return self.ops.add_and_norm(update, module.bias, residual, norm, dropout_p, rows_before)


def _fused_linears(layers: Sequence[Layer]) -> Iterator[tuple[nn.Linear, ...]]:
    """The groups of modules that run as one GEMM."""
    for layer in layers:
        is_last = layer is layers[-1]
        qkv = [(layer.key, layer.value), (layer.query,)] if is_last else [(layer.query, layer.key, layer.value)]
        yield from (*qkv, (layer.attention_output,), (layer.intermediate,), (layer.output,))


def _shape(parts: Encoder, max_seqlens: Sequence[int]) -> Shape:
    """What the operations are tested with."""
    layer, embeddings = parts.layers[0], parts.embeddings
    norms: list[Any] = [layer.attention_norm, embeddings.LayerNorm]
    dropouts = (
        parts.embedding_dropout, parts.attention_dropout, parts.attention_output_dropout, parts.output_dropout
    )  # fmt: skip
    return Shape(
        heads=parts.heads, width=layer.query.in_features, inner_width=layer.intermediate.out_features,
        norm_widths=tuple({norm.weight.shape[0] for norm in norms}),
        dropouts=tuple({dropout for dropout in dropouts if dropout}), max_seqlens=tuple(max_seqlens),
    )  # fmt: skip


def padding_lengths(
    tokens: int, max_seqlen: int, smallest: int, sequences: int = 0, sequence_step: int = 1
) -> list[int]:
    """Lengths of the sequences that pad a batch to a bucket size: at most `smallest` or a sixteenth more tokens, and
    one for each of these sequences, which make the number of all a multiple of `sequence_step`.

    At least one, so that batches of one size have equally many sequences; none is longer than `max_seqlen`. A small
    step suits the single texts of serving. Each size costs memory: of a CUDA graph, or of oneDNN's compiled matmuls.
    """
    step = max(smallest, (1 << tokens.bit_length()) // 32)
    count = math.ceil((step - 1) / max(1, max_seqlen - 1))
    count += -(sequences + count) % sequence_step
    missing = count + -(tokens + count) % step
    return [missing // count + (number < missing % count) for number in range(count)]
