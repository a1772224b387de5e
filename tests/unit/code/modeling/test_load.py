"""Model folders as people have them: those that do not fit together are one sentence, before training."""

from __future__ import annotations

import json
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    FlaubertConfig,
    FlaubertForSequenceClassification,
)

from support.jobs import Job
from support.small_models import FAMILIES, model_of
from support.tiny_model import write_tiny_model
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.head import fit_head
from text_classifier.modeling.load import load_model, make_classifier
from text_classifier.modeling.packed import positions_of
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.tokenization.tokens import Tokens, tokenize
from text_classifier.tokenization.unknown import require_known_tokens, unknown_share

CLASSES = ("bad", "good")


@pytest.fixture
def channel(tmp_path: Path, tiny_model: Path) -> Path:
    """A `model` channel with the tiny model, to be spoiled."""
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def load(channel: Path, length: int = 16, said: list[str] | None = None) -> tuple[Any, Any]:
    return load_model(channel, "", CLASSES, "single_label_classification", length, say=(said or []).append)


def refused(channel: Path, length: int = 16) -> str:
    with pytest.raises(SettingsError) as error:
        load(channel, length)
    sentence = str(error.value)
    assert "\n" not in sentence and len(sentence) < 900
    return sentence


def outcome(channel: Path) -> str | None:
    """The sentence that refuses a model, if it is refused."""
    try:
        load(channel)
    except SettingsError as error:
        return str(error)
    return None


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes a key."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def weights(channel: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    file = channel / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_folder_without_a_tokenizer_is_refused(channel: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (channel / name).unlink()
    assert "it has no tokenizer" in refused(channel)


def test_a_tokenizer_of_another_model_is_refused(channel: Path) -> None:
    name = "embeddings.word_embeddings.weight"
    weights(channel, lambda tensors: tensors.update({name: torch.randn(400, 32)}))
    edit(channel / "config.json", vocab_size=400)
    assert "its tokenizer has 14 tokens, its embedding 400 rows" in refused(channel)
    weights(channel, lambda tensors: tensors.update({name: torch.randn(10, 32)}))
    edit(channel / "config.json", vocab_size=10)
    assert "its tokenizer gives token ids up to 13, its embedding has 10 rows" in refused(channel)


def test_unknown_tokens_are_counted(channel: Path) -> None:
    tokenizer, _ = load(channel)
    ids = tokenize(tokenizer, ["good unheard", "bad bad bad", ""], 16).ids
    assert unknown_share(ids, tokenizer) == 1 / 5
    assert unknown_share(ids[:0], tokenizer) == 0
    require_known_tokens({"train": 0.5, "validation": 0.1})
    with pytest.raises(SettingsError, match="51% of the tokens of validation are unknown to the model's tokenizer"):
        require_known_tokens({"train": 0.1, "validation": 0.51})


def test_texts_that_the_tokenizer_does_not_know_end_the_job_or_warn(job: Job, tiny_model: Path) -> None:
    (job.base / "input" / "data" / "train").mkdir(parents=True)
    (job.base / "input" / "data" / "model").symlink_to(tiny_model)
    rows = "".join(f"good {'unheard ' * 3},{n % 2}\n" for n in range(12))
    job.write("train", "a.csv", "text,label\n" + rows)
    code, _ = job.run("--epochs=1")
    assert code == 1 and job.failure.startswith("Your settings: 75% of the tokens of ")
    report = json.loads((job.base / "output" / "data" / "data_report.json").read_text())
    assert report["tokens"]["train"]["unknown_share"] == 0.75
    job.clear()
    job.write("train", "a.csv", "text,label\n" + rows.replace("unheard " * 3, "bad good good good good unheard"))
    code, log = job.run("--epochs=1")
    assert code == 0 and "WARNING: 14.3% of the tokens of train are unknown to the model's tokenizer" in log


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert", "mpnet"])
def test_positions_after_the_padding_id_are_fewer(channel: Path, family: str) -> None:
    config = {"roberta": transformers.RobertaConfig, "xlm-roberta": transformers.XLMRobertaConfig,
              "camembert": transformers.CamembertConfig, "mpnet": transformers.MPNetConfig}[family](
        vocab_size=14, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(channel)
    edit(channel / "tokenizer_config.json", model_max_length=None)
    load(channel, 64)
    for length in (65, 66):
        assert refused(channel, length) == f"max_sequence_length={length} exceeds the model's 64 positions; lower it"


def test_rotary_positions_may_be_more_than_any_tensor_has(channel: Path) -> None:
    config = transformers.ModernBertConfig(
        vocab_size=14, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8192, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(channel)
    load(channel)


def test_shared_layers_may_be_more_than_the_tensors(channel: Path) -> None:
    config = transformers.AlbertConfig(
        vocab_size=14, embedding_size=16, hidden_size=32, num_hidden_layers=48, num_attention_heads=2,
        intermediate_size=64,
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(channel)
    load(channel)


@pytest.mark.parametrize("pad_id", [None, 1])
def test_generative_models_read_the_last_token_before_the_padding(channel: Path, pad_id: int | None) -> None:
    config = transformers.GPT2Config(
        vocab_size=14, n_embd=32, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3, pad_token_id=pad_id
    )
    transformers.AutoModel.from_config(config).save_pretrained(channel)
    tokenizer, model = load(channel)
    model.eval()
    texts = ["good great fine lovely", "bad"]
    tokens = tokenize(tokenizer, texts, 16)
    classifier = make_classifier(model, tokenizer.pad_token_id, Precision("fp32", torch.device("cpu"))).eval()
    with torch.no_grad():
        logits = classifier(**classifier.inputs(tokens, np.arange(2)))
        alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)


def test_xlnet_is_refused_by_its_own_reason(channel: Path) -> None:
    config = transformers.XLNetConfig(vocab_size=14, d_model=32, n_layer=1, n_head=2, d_inner=64, pad_token_id=0)
    transformers.AutoModel.from_config(config).save_pretrained(channel)
    assert "XLNet classifies by the last token" in refused(channel)


def test_bert_has_all_of_its_positions_whatever_its_tokenizer_says(channel: Path) -> None:
    edit(channel / "tokenizer_config.json", model_max_length=8)  # as published by a training with short texts
    load(channel, 128)
    assert refused(channel, 129).startswith("max_sequence_length=129 exceeds the model's 128 positions")


@pytest.mark.parametrize(
    ("names", "order", "said"),
    [
        (("good", "so", "bad"), [2, 0, 1], "its rows were put into the order of the data's"),
        (("Bad", "Good", "SO"), [0, 1, 2], "its rows were put into the order of the data's"),
        (("bad", "good", "so"), [0, 1, 2], None),
        (("LABEL_0", "LABEL_1", "LABEL_2"), [0, 1, 2], None),
        (("neg", "pos", "so"), None, r"other classes (neg, pos, so) than the data: a new head is trained"),
        (("good", "Good", "bad"), None, "a new head is trained"),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_rows_of_a_head_follow_the_names_of_its_classes(
    family: str, names: tuple[str, ...], order: list[int] | None, said: str | None
) -> None:
    model = model_of(family)
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    with torch.no_grad():
        before = model.eval()(**inputs).logits
        answer = fit_head(model, dict(enumerate(names)), ("bad", "good", "so"), set())
        after = model(**inputs).logits
    assert (answer is None) if said is None else said in str(answer)
    if order:
        torch.testing.assert_close(after, before[:, order])
    else:
        assert not torch.allclose(after, before)


def test_a_head_of_another_size_is_new_anyway(channel: Path) -> None:
    said: list[str] = []
    load_model(channel, "", CLASSES, "single_label_classification", 16, say=said.append)
    assert said == []


def test_every_step_trains_all_layers(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    config = FlaubertConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(tmp_path)), emb_dim=16, n_layers=2, n_heads=2, layerdrop=0.5,
        max_position_embeddings=64,
    )  # fmt: skip
    FlaubertForSequenceClassification(config).save_pretrained(tmp_path)
    said: list[str] = []
    _, model = load_model(tmp_path, "", CLASSES, "single_label_classification", 16, say=said.append)
    assert "WARNING: config.json has layerdrop=0.5; every step trains all layers" in said
    assert model.transformer.layerdrop == model.config.layerdrop == 0


def test_the_latest_of_several_checkpoints_is_taken_and_said(channel: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    for number, steps in enumerate((500, 1000, 90)):
        shutil.copytree(channel, many / f"checkpoint-{steps}")
        edit(many / f"checkpoint-{steps}" / "config.json", layer_norm_eps=10.0 ** -(number + 5))
    said: list[str] = []
    _, model = load_model(many, "", CLASSES, "single_label_classification", 16, say=said.append)
    assert model.config.layer_norm_eps == 1e-6
    assert said == ["the channel 'model' has 3 checkpoints: the model is that of checkpoint-1000"]
    shutil.copytree(channel, many / "other")
    assert "has several models: checkpoint-1000, checkpoint-500, checkpoint-90, other; give" in refused(many)
    shutil.copytree(channel, many, dirs_exist_ok=True)
    load(many)  # the model beside the checkpoints of its training


def archive(channel: Path, folder: Path, **member: Any) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        for path in sorted(channel.iterdir()):
            tar.add(path, arcname=path.name)
        if member:
            info = tarfile.TarInfo(member.pop("name"))
            for name, value in member.items():
                setattr(info, name, value)
            tar.addfile(info)
    return folder


def test_an_archive_of_a_job_is_unpacked(channel: Path, tmp_path: Path) -> None:
    said: list[str] = []
    load_model(archive(channel, tmp_path / "a"), "", CLASSES, "single_label_classification", 16, say=said.append)
    assert said == ["the model is that of model.tar.gz in the channel 'model'"]


@pytest.mark.parametrize(
    "member",
    [
        {"name": "../out"}, {"name": "/tmp/out"}, {"name": "a", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"name": "a", "type": tarfile.LNKTYPE, "linkname": "config.json"}, {"name": "a", "type": tarfile.FIFOTYPE},
    ],
)  # fmt: skip
def test_an_archive_that_reaches_out_is_refused(channel: Path, tmp_path: Path, member: dict[str, Any]) -> None:
    assert "which is a link or outside its folder" in refused(archive(channel, tmp_path / "a", **member))
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_is_refused(channel: Path, tmp_path: Path) -> None:
    file = archive(channel, tmp_path / "a") / "model.tar.gz"
    content = file.read_bytes()
    for cut in (10, len(content) // 2):
        file.write_bytes(content[:cut])
        assert "cannot be unpacked" in refused(file.parent)


def with_another(channel: Path) -> dict[str, Callable[[], Any]]:
    """Ways to spoil a model folder, by what the sentence must say."""
    config, tokenizer = channel / "config.json", channel / "tokenizer_config.json"
    file = channel / "model.safetensors"
    header = struct.pack("<Q", 2) + b"{}"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    spoiled: dict[str, Callable[[], Any]] = {
        "model.safetensors is a Git LFS pointer": lambda: file.write_bytes(pointer),
        "tokenizer.json is a Git LFS pointer": lambda: (channel / "tokenizer.json").write_bytes(pointer),
        "PEFT adapter": lambda: (channel / "adapter_config.json").write_text("{}"),
        "quantized": lambda: edit(config, quantization_config={"quant_method": "gptq", "bits": 4}),
        "its weights lack bert.encoder.layer.0": lambda: weights(
            channel, lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layer.0." in name]
        ),
        "hold no tensors": lambda: file.write_bytes(header),
        "its weights have layers that config.json does not": lambda: edit(config, num_hidden_layers=1),
        "their shapes do not match config.json": lambda: edit(config, intermediate_size=63),
        "num_hidden_layers=0": lambda: edit(config, num_hidden_layers=0),
        "num_hidden_layers=-3": lambda: edit(config, num_hidden_layers=-3),
        "vocab_size": lambda: edit(config, vocab_size="x"),
        "no classifier of the family 'vit'": lambda: edit(config, model_type="vit"),
        "it is an encoder-decoder (bart)": lambda: edit(config, model_type="bart", is_encoder_decoder=True),
        "no padding token": lambda: edit(tokenizer, pad_token=None),
        "has no config.json": config.unlink,
        "has no .safetensors weights": file.unlink,
    }
    return spoiled


@pytest.mark.parametrize("sentence", with_another(Path("model")))
def test_a_spoiled_folder_is_named(channel: Path, sentence: str) -> None:
    with_another(channel)[sentence]()
    assert sentence in refused(channel)


VALUES: tuple[Any, ...] = (None, -1, 0, 3, 10**15, "x", [], {}, 0.5, True)
KEYS = {
    "config.json": (
        "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
        "max_position_embeddings", "type_vocab_size", "vocab_size", "layer_norm_eps", "hidden_dropout_prob",
        "pad_token_id", "id2label", "architectures", "dtype", "auto_map", "is_decoder", "attn_implementation",
    ),
    "tokenizer_config.json": ("tokenizer_class", "model_max_length", "pad_token", "unk_token", "auto_map"),
    "tokenizer.json": ("model", "pre_tokenizer", "post_processor", "added_tokens", "truncation", "version"),
}  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in KEYS.items() for key in keys])
def test_any_value_of_any_key_loads_or_is_one_sentence(channel: Path, name: str, key: str, value: Any) -> None:
    edit(channel / name, **{key: value})
    sentence = outcome(channel)
    assert sentence is None or ("\n" not in sentence and len(sentence) < 900)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"\x00" * 64, struct.pack("<Q", 1 << 60)]
)
def test_any_content_of_a_file_is_one_sentence(channel: Path, name: str, content: bytes) -> None:
    (channel / name).write_bytes(content)
    sentence = outcome(channel)
    assert "\n" not in sentence if sentence else name == "tokenizer_config.json"


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert", "data2vec-text"])
def test_padding_tokens_within_a_text_are_counted_as_transformers_does(family: str) -> None:
    model = model_of(family).eval()
    rows = [[5, 1, 6, 7, 1, 1, 8], [5, 6, 7], [1, 5], [9]]
    lengths = [len(row) for row in rows]
    tokens = Tokens(np.concatenate(rows).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    cpu = torch.device("cpu")
    packed = make_classifier(model, 1, Precision("fp32", cpu)).eval()
    padded = PaddedClassifier(model, 1, Precision("fp32", cpu)).eval()
    assert packed.name == "packed"
    with torch.no_grad():
        expected = torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])
        for classifier in (packed, padded):
            logits = classifier(**classifier.inputs(tokens, np.arange(4)))
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_positions_without_padding_tokens_are_those_in_the_sequence() -> None:
    ids, lengths = np.array([0, 7, 0, 8]), np.array([3, 1])
    assert positions_of(ids, lengths, 0).tolist() == [0, 1, 2, 0]
    assert positions_of(np.array([5, 1, 6, 1, 7]), np.array([3, 2]), 2).tolist() == [0, -1, 1, -1, 0]


def test_a_tokenizer_of_sentencepiece_alone_trains(job: Job, tmp_path: Path) -> None:
    import sentencepiece

    (tmp_path / "texts").write_text("good great fine lovely superb\nbad awful poor dull dreadful\n" * 50)
    folder = job.base / "input" / "data" / "model"
    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"), model_prefix=str(folder / "spm"), vocab_size=30, pad_id=0, bos_id=1, eos_id=2,
        unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]", minloglevel=2,
        normalization_rule_name="identity",
    )  # fmt: skip
    (folder / "spm.vocab").unlink()
    config = transformers.DebertaV2Config(
        vocab_size=48, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.DebertaV2Model(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer", "vocab_type": "spm"}')
    (folder / "model.safetensors").chmod(0o644)
    job.write("train", "a.csv", "text,label\n" + "good great,1\nbad awful,0\n" * 8)
    code, log = job.run("--epochs=1", "--max_sequence_length=16")
    assert code == 0, log
    published = json.loads((job.base / "model" / "tokenizer_config.json").read_text())
    assert not isinstance(published.get("extra_special_tokens"), list)  # transformers 4 reads an object only
    tokenizer = AutoTokenizer.from_pretrained(job.base / "model")
    assert tokenizer("good bad")["input_ids"] == AutoTokenizer.from_pretrained(folder)("good bad")["input_ids"]


def test_the_published_tokenizer_cuts_where_the_trainer_cut(ready_job: Job) -> None:
    code, log = ready_job.run("--epochs=1", "--max_sequence_length=8")
    assert code == 0, log
    folder = ready_job.base / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 8
    classifier = transformers.pipeline("text-classification", model=str(folder))
    assert len(tokenizer("good " * 700, truncation=True)["input_ids"]) == 8
    assert classifier("good " * 700, truncation=True)
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.max_position_embeddings == 128


def test_the_tiny_model_itself_loads(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_tiny_model(tmp_path / "model")
    load(tmp_path / "model")
