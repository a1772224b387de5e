"""The parts of BERT-family models that the packed forward pass calls, in one form for all families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

#: RoBERTa, and families that have its layers under another name.
_ROBERTAS = ("roberta", "xlm-roberta", "camembert", "data2vec-text")


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
    """The parts of a model, in one form for all families."""

    embeddings: nn.Module
    first_position: int
    layers: tuple[Layer, ...]
    heads: int
    activation: Callable[[Tensor], Tensor]
    embedding_dropout: float
    attention_dropout: float  #: of the probabilities
    attention_output_dropout: float
    output_dropout: float
    project: nn.Module | None  #: from the embeddings' width to the layers' (small ELECTRA)
    head: Callable[[Tensor], Tensor]  #: first tokens [sequences, 1, width] to logits

    @property
    def type_embeddings(self) -> nn.Embedding | None:
        """The embeddings of token types, if the model has any."""
        table: nn.Embedding | None = getattr(self.embeddings, "token_type_embeddings", None)
        return table


def encoder(model: PreTrainedModel) -> Encoder | None:
    """The model's parts, or None for a family that cannot be packed."""
    config = model.config
    if config.model_type == "distilbert":
        return _distilbert(model, config)
    if config.model_type not in ("bert", "electra", *_ROBERTAS):
        return None
    if config.is_decoder or getattr(config, "add_cross_attention", False):
        return None
    return _bert(model, config)


def _distilbert(model: Any, config: Any) -> Encoder:
    layers = [
        Layer(
            query=block.attention.q_lin, key=block.attention.k_lin, value=block.attention.v_lin,
            attention_output=block.attention.out_lin, attention_norm=block.sa_layer_norm,
            intermediate=block.ffn.lin1, output=block.ffn.lin2, output_norm=block.output_layer_norm,
        )
        for block in model.distilbert.transformer.layer
    ]  # fmt: skip

    def head(first: Tensor) -> Tensor:
        return model.classifier(model.dropout(functional.relu(model.pre_classifier(first[:, 0]))))

    return Encoder(
        embeddings=model.distilbert.embeddings, first_position=0, layers=tuple(layers), heads=config.n_heads,
        activation=model.distilbert.transformer.layer[0].ffn.activation,
        embedding_dropout=config.dropout, attention_dropout=config.attention_dropout,
        attention_output_dropout=0.0, output_dropout=config.dropout, project=None, head=head,
    )  # fmt: skip


def _bert(model: Any, config: Any) -> Encoder:
    base = model.base_model
    layers = [
        Layer(
            query=block.attention.self.query, key=block.attention.self.key, value=block.attention.self.value,
            attention_output=block.attention.output.dense, attention_norm=block.attention.output.LayerNorm,
            intermediate=block.intermediate.dense, output=block.output.dense, output_norm=block.output.LayerNorm,
        )
        for block in base.encoder.layer
    ]  # fmt: skip

    def pooled(first: Tensor) -> Tensor:
        return model.classifier(model.dropout(base.pooler(first)))

    dropout = config.hidden_dropout_prob
    return Encoder(
        embeddings=base.embeddings, first_position=config.pad_token_id + 1 if config.model_type in _ROBERTAS else 0,
        layers=tuple(layers), heads=config.num_attention_heads,
        activation=base.encoder.layer[0].intermediate.intermediate_act_fn,
        embedding_dropout=dropout, attention_dropout=config.attention_probs_dropout_prob,
        attention_output_dropout=dropout, output_dropout=dropout,
        project=getattr(base, "embeddings_project", None),
        head=pooled if config.model_type == "bert" else model.classifier,
    )  # fmt: skip
