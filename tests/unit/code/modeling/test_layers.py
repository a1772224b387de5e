from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from support.small_models import FAMILIES, model_of
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.layers import depths, freeze

SHAPE: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "pad_token_id": 0,
}  # fmt: skip

#: Embeddings, the first layer's number, and nothing else.
FROZEN = re.compile(
    r"embeddings|word_embedding|embed_tokens|\.wte\.|\.wpe\.|relative_attention_bias|mask_emb|\.(layer|layers|h)\.0\."
)


def small(family: str) -> Any:
    if family in FAMILIES:
        return model_of(family)
    configs = {
        "deberta-v2": lambda: transformers.DebertaV2Config(**SHAPE, relative_attention=True, position_buckets=8),
        "mpnet": lambda: transformers.MPNetConfig(**SHAPE),
        "modernbert": lambda: transformers.ModernBertConfig(
            **SHAPE, bos_token_id=2, eos_token_id=1, cls_token_id=2, sep_token_id=1
        ),
        "xlnet": lambda: transformers.XLNetConfig(vocab_size=60, d_model=16, n_layer=3, n_head=2, d_inner=32),
        "gpt2": lambda: transformers.GPT2Config(
            vocab_size=60, n_embd=16, n_layer=3, n_head=2, pad_token_id=0, bos_token_id=1, eos_token_id=1
        ),
        "albert": lambda: transformers.AlbertConfig(**SHAPE, embedding_size=16),
        "bart": lambda: transformers.BartConfig(
            vocab_size=60, d_model=16, encoder_layers=3, decoder_layers=3, encoder_ffn_dim=32, decoder_ffn_dim=32,
            encoder_attention_heads=2, decoder_attention_heads=2,
        ),
    }  # fmt: skip
    return AutoModelForSequenceClassification.from_config(configs[family]())


@pytest.mark.parametrize("family", [*FAMILIES, "deberta-v2", "mpnet", "modernbert", "xlnet", "gpt2"])
def test_embeddings_and_the_first_layers_are_found_in_every_architecture(family: str) -> None:
    model = small(family)
    freeze(model, 1)
    names = dict(model.named_parameters())
    frozen = {name for name, parameter in names.items() if not parameter.requires_grad}
    assert frozen == {name for name in names if FROZEN.search(name)}
    assert any("embed" in name or "wte" in name for name in frozen) and any(".0." in name for name in frozen)
    ids = torch.tensor([[3, 4, 5, 6]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    assert all(names[name].grad is None for name in frozen)


def test_the_head_is_deepest_and_learns_when_all_layers_are_frozen() -> None:
    model = small("bert")
    depth_of = {name: depths(model, "")[parameter] for name, parameter in model.named_parameters()}
    assert {depth for name, depth in depth_of.items() if "pooler" in name or "classifier" in name} == {4}
    freeze(model, 3)
    learning = {name.partition(".weight")[0] for name, p in model.named_parameters() if p.requires_grad and p.ndim == 2}
    assert learning == {"bert.pooler.dense", "classifier"}


@pytest.mark.parametrize("family", ["albert", "bart"])
def test_a_model_without_layers_of_its_own_is_one_sentence(family: str) -> None:
    with pytest.raises(SettingsError) as caught:
        freeze(small(family), 1)
    assert str(caught.value) == (
        f"freeze_layers needs a model with one list of layers, each with weights of its own, and {family} has none; "
        "remove freeze_layers, or choose another model"
    )
    freeze(small(family), 0)


def test_more_layers_than_the_model_has_is_one_sentence() -> None:
    with pytest.raises(SettingsError) as caught:
        freeze(small("distilbert"), 4)
    assert str(caught.value) == "freeze_layers=4 is more than the 3 layers of the model; set it to 3 or less"
