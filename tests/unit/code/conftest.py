"""Jobs for the tests of code/, with a model small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import BAD, GOOD, Job, easy_rows, table


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two small layers with random weights, saved as people save models."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD[0].split(), *BAD[0].split()]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=128,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    import torch

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("tiny-model")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job without any channel."""
    return Job(tmp_path)


@pytest.fixture
def ready_job(job: Job, tiny_model: Path) -> Job:
    """A job that would succeed: 64 easy rows and the tiny model."""
    job.write("train", "reviews.tsv", table(easy_rows(64)))
    (job.base / "input" / "data" / "model").symlink_to(tiny_model)
    return job


@pytest.fixture
def channel(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file into a `train` channel and get the channel's folder."""

    def write(name: str, content: str | bytes) -> Path:
        return Job(tmp_path).write("train", name, content).parent

    return write
