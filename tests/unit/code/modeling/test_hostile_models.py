"""A model folder is data: whatever it holds, the outcome is a trained model or one sentence, in bounded time."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats  # noqa: F401  # the jobs below need it: each would import it anew
import sklearn.metrics  # noqa: F401
import torch
import transformers
from safetensors.torch import load_file, save_file

import train
from support.bounded import run_bounded
from support.broken_models import Broken, broken_models, read_header, write_header
from support.jobs import Job, easy_rows, table
from support.tiny_model import write_tiny_model
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling import bounds
from text_classifier.modeling.load import load_model
from text_classifier.modeling.tensors import INDEX
from text_classifier.results import ending
from text_classifier.tokenization.tokens import tokenize

#: Of the broken folders that the generator makes, every so many is tried: an odd number, so that all values have turns.
STRIDE = 13

SECONDS, MEMORY = 10, 2 << 30


@pytest.fixture
def channel(tmp_path: Path, tiny_model: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def load(channel: Path, said: list[str] | None = None) -> tuple[Any, Any]:
    say = ([] if said is None else said).append
    return load_model(channel, "", ("bad", "good"), "single_label_classification", 16, say=say)


def refused(channel: Path) -> str:
    with pytest.raises(SettingsError) as error:
        load(channel)
    sentence = str(error.value)
    assert "\n" not in sentence and len(sentence) < 900
    return sentence


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_broken_folders_train_or_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    """Whole jobs but for the report, each in a process of its own with bounds on time and memory."""
    job = Job(tmp_path / "job")
    job.write("train", "a.tsv", table(easy_rows(8)))
    job.write("validation", "a.tsv", table(easy_rows(4)))
    model = job.base / "input" / "data" / "model"
    stages = ending.report_stages
    monkeypatch.setattr(ending, "report_stages", lambda evaluated: (stages(evaluated)[0][:1], []))
    for name, value in {
        "SAGEMAKER_BASE_DIR": str(job.base), "TEXT_OPS": "reference", "TOKENIZERS_PARALLELISM": "false",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def outcome(broken: Broken) -> str | None:
        """What is wrong with how a job with this model ends."""
        shutil.rmtree(model, ignore_errors=True)
        job.clear()
        shutil.copytree(tiny_model, model)
        broken.apply(model)
        arguments = ["--epochs=1", "--max_sequence_length=16"]
        ended = run_bounded(lambda: train.main(arguments), tmp_path / "log", SECONDS, MEMORY)
        failure = job.failure if ended.code else ""
        is_fine = (
            ended.code in (0, 1)
            and "Traceback" not in ended.log
            and (ended.code == 0) == ("completed after step 1" in ended.log)
            and (not failure or re.fullmatch(r"Your settings: the (channel 'model'|model)[^\n]+; [^\n]+", failure))
            and "\x1b" not in ended.log
            and ended.seconds < SECONDS
            and ended.bytes < MEMORY
        )
        return None if is_fine else f"{broken.name}: {ended}, {failure}"

    chosen = broken_models(tiny_model)[::STRIDE]
    assert len(chosen) >= 200
    assert [problem for problem in map(outcome, chosen) if problem] == []


def test_a_job_that_breaks_the_bounds_shows(tmp_path: Path) -> None:
    def take_memory() -> int:
        return len(bytearray(1 << 30)) and 0

    def take_time() -> int:
        while True:
            pass

    assert run_bounded(take_memory, tmp_path / "log", 10, 1 << 29).log.startswith("Traceback: MemoryError")
    assert run_bounded(take_memory, tmp_path / "log", 10, 1 << 31).code == 0
    assert run_bounded(take_time, tmp_path / "log", 0.2, 1 << 29).code == -9


def with_header(channel: Path, name: str, **changes: Any) -> None:
    header, data = read_header(channel / "model.safetensors")
    header[name] |= changes
    write_header(channel / "model.safetensors", header, data)


WORDS = "embeddings.word_embeddings.weight"


def test_an_embedding_of_ten_billion_rows_is_refused_by_arithmetic(channel: Path) -> None:
    edit(channel / "config.json", vocab_size=10**10)
    assert "config.json has vocab_size=10000000000, but no tensor in the weights is that large" in refused(channel)
    with_header(channel, WORDS, shape=[10**10, 32])
    assert re.search(
        r"'embeddings.word_embeddings.weight' has the shape \[10000000000, 32\], and 1,792 ", refused(channel)
    )


def test_weights_beyond_the_memory_are_refused_before_they_are_read(channel: Path) -> None:
    """A file of holes is as large as it says, and takes no space."""
    rows, width = 10**10, 32
    header, data = read_header(channel / "model.safetensors")
    header[WORDS] = {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, 4 * rows * width]}
    for name in header:
        if name not in (WORDS, "__metadata__"):
            header[name]["data_offsets"] = [end + 4 * rows * width for end in header[name]["data_offsets"]]
    edit(channel / "config.json", vocab_size=rows)
    write_header(channel / "model.safetensors", header, b"")
    with (channel / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) + 4 * rows * width + len(data))
    assert re.search(
        r"its weights need 1,280 GB or more, and there are [\d,]+ GB of memory; use an instance", refused(channel)
    )


def test_tensors_without_end_are_refused_by_their_number(channel: Path) -> None:
    header, data = read_header(channel / "model.safetensors")
    count = len(header)
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    write_header(channel / "model.safetensors", header | {f"more{n}": entry for n in range(20_000)}, data)
    assert f"model.safetensors: it holds {20_000 + count:,} tensors, and models at most 20,000" in refused(channel)


@pytest.mark.parametrize("name", ["tokenizer.json", "added_tokens.json", "special_tokens_map.json", "vocab.txt"])
def test_a_huge_file_of_the_tokenizer_is_refused_by_its_size(channel: Path, name: str) -> None:
    """A file of holes is as large as it says, and takes no space."""
    with (channel / name).open("ab") as file:
        file.truncate(10**12)
    assert f"{name} is larger than 500 MB; save it again" in refused(channel)


def test_layers_without_end_are_refused_by_their_number(
    channel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edit(channel / "config.json", num_hidden_layers=10**6)
    assert "num_hidden_layers=1000000, but no tensor in the weights is that large" in refused(channel)
    # A number of layers under another name, for which there is no check of its own.
    config = transformers.MobileBertConfig(
        vocab_size=14, hidden_size=32, embedding_size=16, intra_bottleneck_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(channel)
    edit(channel / "config.json", num_feedforward_networks=10**9)
    ended = run_bounded(lambda: int("asks for more than 1," not in refused(channel)), tmp_path / "log", 10, 2 << 30)
    assert ended.code == 0, ended
    monkeypatch.setattr(bounds, "MOST_TENSORS", 10)
    with pytest.raises(SettingsError, match="config.json asks for more than 10 weights and biases, and large models"):
        load_model(None, str(channel), ("bad", "good"), "single_label_classification", 16)


@pytest.mark.parametrize(
    ("part", "ids"), [("sep", ["[SEP]", 10**6]), ("cls", ["[CLS]", 14]), ("sep", ["[SEP]", 2**31 + 5])]
)
def test_an_id_that_only_the_post_processor_gives_is_found(channel: Path, part: str, ids: list[Any]) -> None:
    tokenizer = json.loads((channel / "tokenizer.json").read_text())
    tokenizer["post_processor"][part] = ids
    (channel / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert f"its tokenizer gives token ids up to {ids[1]}, its embedding has 14 rows" in refused(channel)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pad_token_id": 14}, "config.json has pad_token_id=14, and vocab_size=14"),
        ({"pad_token_id": -2}, "config.json has pad_token_id=-2, and vocab_size=14"),
        ({"hidden_act": "gelu_turbo"}, "config.json has hidden_act='gelu_turbo', which is no activation of transform"),
        ({"hidden_act": 7}, "config.json has hidden_act=7, which is not a string"),
        ({"id2label": [1]}, "config.json has id2label=[1], which is not an object"),
        ({"hidden_dropout_prob": 1}, "config.json has hidden_dropout_prob=1, which is not at least 0 and less than 1"),
        ({"layer_norm_eps": 1e308}, "config.json has layer_norm_eps=1e+308, which is not at least 0 and less than 0.1"),
        ({"layer_norm_eps": float("nan")}, "config.json has layer_norm_eps=nan, which is not at least 0"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized (quantization_config in config.json: 'awq')"),
        ({"quantization_config": {}}, "its weights are quantized (quantization_config in config.json: 'unknown method"),
        (
            {"transformers_weights": "../x.safetensors"},
            "transformers_weights='../x.safetensors', which is not in the f",
        ),
        ({"hidden_size": "x"}, "(config.json: Validation error for field 'hidden_size': "),
        (
            {"id2label": {str(number): "x" for number in range(100_001)}},
            "config.json has 100,001 entries in id2label, and at most 100,000 are read",
        ),
        ({"id2label": {"0": "\ud800"}}, "config.json has characters that are not Unicode (lone surrogates)"),
        ({"num_labels": 10**300}, "config.json has num_labels=1000000000"),
        (
            {"num_labels": 10**10},
            "config.json has num_labels=10000000000, which is not at least 1 and less than 100001",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_key(channel: Path, changes: dict[str, Any], sentence: str) -> None:
    edit(channel / "config.json", **changes)
    assert sentence in refused(channel)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tokenizer_class": 1}, "tokenizer_config.json has tokenizer_class=1, which is not a string"),
        ({"model_max_length": "x"}, "tokenizer_config.json has model_max_length='x', which is not an integer or a num"),
        ({"pad_token": []}, "tokenizer_config.json has pad_token=[], which is not a string or an object"),
        ({"unk_token": ""}, "tokenizer_config.json has an empty unk_token; save it again"),
        ({"stride": "\ud800"}, "tokenizer_config.json has characters that are not Unicode (lone surrogates)"),
    ],
)
def test_a_wrong_value_of_the_tokenizer_is_named_with_its_key(
    channel: Path, changes: dict[str, Any], sentence: str
) -> None:
    edit(channel / "tokenizer_config.json", **changes)
    assert sentence in refused(channel)


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3", "F8_E5M2", "I32"])
def test_quantized_weights_are_named_without_a_word_in_the_configuration(channel: Path, dtype: str) -> None:
    size = {"I32": 4}.get(dtype, 1)
    header, data = read_header(channel / "model.safetensors")
    header[WORDS] |= {"dtype": dtype, "shape": [14, 32 * 4 // size]}
    write_header(channel / "model.safetensors", header, data)
    assert f"its weights are quantized ({WORDS} is {dtype})" in refused(channel)


def test_an_adapter_says_of_which_model(channel: Path) -> None:
    (channel / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "bert-base-uncased", "peft_type": "LORA"}'
    )
    assert "holds a PEFT adapter of 'bert-base-uncased', not a whole model; merge it into its base" in refused(channel)


def test_own_code_beside_a_known_model_is_a_warning_and_never_runs(channel: Path, tmp_path: Path) -> None:
    names = {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}
    (channel / "own.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'trace')!r}).touch()\n")
    edit(channel / "config.json", auto_map=names)
    edit(channel / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", None]})
    said: list[str] = []
    load(channel, said)
    assert said == [
        f"WARNING: {name} of the model names code of its own (auto_map), which is never run"
        for name in ("config.json", "tokenizer_config.json")
    ]
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize(
    "value", ["flash_attention_2", "flash_attention_3", "some/kernels", "flex_attention", "x\x1b[2J"]
)
def test_attention_of_other_packages_is_replaced(channel: Path, key: str, value: str) -> None:
    edit(channel / "config.json", **{key: value})
    said: list[str] = []
    _, model = load(channel, said)
    [warning] = said
    assert warning.startswith("WARNING: config.json asks for attn_implementation=") and warning.isprintable()
    assert model.config._attn_implementation == "sdpa"


def test_options_of_the_program_are_not_the_models(channel: Path) -> None:
    edit(channel / "config.json", output_attentions=True, output_hidden_states=True, return_dict=False)
    _, model = load(channel)
    assert model(torch.tensor([[2, 5, 3]])).logits.shape == (1, 2)


def change_weights(channel: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(channel / "model.safetensors")
    change(tensors)
    save_file(tensors, channel / "model.safetensors", metadata={"format": "pt"})


def test_a_pooler_that_is_new_is_said(channel: Path) -> None:
    change_weights(channel, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    said: list[str] = []
    load(channel, said)
    assert said == ["the model's files have no pooler (the layer before the head): a new one is trained"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(channel: Path, value: float) -> None:
    change_weights(channel, lambda tensors: tensors[WORDS].__setitem__((3, 4), value))
    assert f"its weights are not finite (bert.{WORDS}); use an earlier checkpoint" in refused(channel)


def test_an_index_may_not_lead_out_of_the_folder(channel: Path, tmp_path: Path) -> None:
    (channel / "model.safetensors").rename(tmp_path / "model.safetensors")
    (channel / "other.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    for name in ("../model.safetensors", str(tmp_path / "model.safetensors"), "gone.safetensors"):
        (channel / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {WORDS: name}}))
        assert f"{INDEX} names '{name[:40]}" in refused(channel)
    for content in ("[]", "{", '{"weight_map": 1}', '{"weight_map": {"a": 1}}', "[" * 100_000):
        (channel / INDEX).write_text(content)
        assert f"{INDEX} is damaged" in refused(channel)


def test_a_tokenizer_that_fails_on_a_text_is_the_models_fault(channel: Path) -> None:
    tokenizer = json.loads((channel / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "[GONE]"  # no id for words that the vocabulary lacks
    (channel / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "(a trial: " in refused(channel) or "(its tokenizer: " in refused(channel)


@pytest.mark.parametrize(
    ("replacements", "growth"),
    [
        ([({"String": "o"}, "x" * 1_000_000)], "1,000,000"),
        ([({"String": "o"}, "o" * 10)] * 9, "1,000,000,000"),
        ([({"Regex": ""}, "o")] * 40, "1,099,511,627,776"),
        ([({"String": "``"}, '"'), ({"Regex": " {2,}"}, " "), ({"String": "o"}, "x" * 500)], None),
    ],
)
def test_a_normalizer_that_multiplies_texts_is_refused(
    channel: Path, replacements: list[tuple[dict[str, str], str]], growth: str | None
) -> None:
    """The tokenizers library would abort the process once the memory is full."""
    tokenizer = json.loads((channel / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {
        "type": "Sequence",
        "normalizers": [{"type": "Replace", "pattern": pattern, "content": text} for pattern, text in replacements],
    }
    (channel / "tokenizer.json").write_text(json.dumps(tokenizer))
    if growth:
        assert f"its tokenizer makes up to {growth} characters of one" in refused(channel)
    else:
        load(channel)


def test_what_a_tokenizer_raises_later_is_its_fault_too(channel: Path) -> None:
    tokenizer, _ = load(channel)

    class Failing:
        truncation_side = "left"

        def __call__(self, texts: Any, **_: Any) -> Any:
            raise ValueError("no such\ntoken")

    with pytest.raises(
        SettingsError, match=r"the model's tokenizer fails on a text \(ValueError: no such\\ntoken\); use"
    ):
        tokenize(Failing(), ["a"], 16)  # type: ignore[arg-type]
    assert len(tokenize(tokenizer, ["good"], 16)) == 1


def test_the_generator_changes_every_file(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    names = [broken.name for broken in broken_models(tmp_path)]
    assert len(set(names)) == len(names) > 2_000
    counts = {name: sum(each.startswith(name) for each in names) for name in os.listdir(tmp_path)}
    assert np.all(np.array(list(counts.values())) > 50), counts
