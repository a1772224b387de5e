"""The model folder that all competitors of a run start from, including the new head."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from benchmarks.corpus import MADE_UP_WORDS, made_up_word

#: Model shapes with random weights. The defaults of transformers are those of the base models.
SHAPES: dict[str, PreTrainedConfig] = {
    "minilm": BertConfig(hidden_size=384, num_attention_heads=12, num_hidden_layers=6, intermediate_size=1536),
    "distilbert-base": DistilBertConfig(),
    "bert-base": BertConfig(),
}


def write(folder: Path, model: Path | None, shape: str | None, seed: int = 1) -> None:
    """Write weights, head and tokenizer to `folder`.

    The weights are those of the folder `model`, or random with `shape`. The tokenizer is that of `model`; without it,
    one for the words of corpus.made_up().
    """
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model) if model else made_up_tokenizer()
    if shape:
        config = SHAPES[shape]
        config.vocab_size = max(config.vocab_size, len(tokenizer))
        config.num_labels = 2
        classifier = AutoModelForSequenceClassification.from_config(config)
    else:
        assert model, "give a model or a shape"
        config = AutoConfig.from_pretrained(model, num_labels=2)
        logging.getLogger("transformers").setLevel(logging.ERROR)  # no warning about the new head
        classifier = AutoModelForSequenceClassification.from_pretrained(model, config=config, dtype="float32")
    classifier.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def made_up_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer for the words of corpus.made_up()."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(made_up_word, range(MADE_UP_WORDS))]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **special)
