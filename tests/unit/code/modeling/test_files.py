"""Five malicious model channels, and ordinary ones: no file of a channel ever runs as code."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from support.tiny_model import write_tiny_model
from support.users import closed
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.files import model_directory
from text_classifier.modeling.load import load_model


class Attack:
    """Its pickle makes a file when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_model(folder)
    return folder


@pytest.fixture
def channel(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "model")


def change_config(channel: Path, **entries: object) -> None:
    path = channel / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def only_bin(channel: Path, attack: bytes) -> None:
    (channel / "model.safetensors").unlink()
    (channel / "pytorch_model.bin").write_bytes(attack)


def disguised(channel: Path, attack: bytes) -> None:
    (channel / "model.safetensors").write_bytes(attack)


def named_by_an_index(channel: Path, attack: bytes) -> None:
    (channel / "model.safetensors").rename(channel / "other.safetensors")
    (channel / "shard.bin").write_bytes(attack)
    index = {"metadata": {"total_size": 1}, "weight_map": {"embeddings.word_embeddings.weight": "shard.bin"}}
    (channel / "model.safetensors.index.json").write_text(json.dumps(index))


def named_by_the_configuration(channel: Path, attack: bytes) -> None:
    (channel / "adapter_model.bin").write_bytes(attack)
    change_config(channel, transformers_weights="adapter_model.bin")


def code_beside_the_weights(channel: Path, attack: bytes) -> None:
    (channel / "own.py").write_text(f"import pickle\npickle.loads({attack!r})\n")
    names = {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M", "AutoTokenizer": ["own.T", None]}
    change_config(channel, model_type="own", auto_map=names)


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (only_bin, "the channel 'model' has no .safetensors weights; save them with save_pretrained"),
        (disguised, "model.safetensors: it is truncated, or not a safetensors file; save it again with save"),
        (
            named_by_an_index,
            r"cannot be loaded \(its weights: shard.bin is a pickle, which can run code when it is read\); save",
        ),
        (
            named_by_the_configuration,
            r"cannot be loaded \(its weights: adapter_model.bin is a pickle, which can run code",
        ),
        (code_beside_the_weights, r"model_type='own', which is no model .* and its own code \(auto_map\) is never run"),
    ],
)
def test_nothing_of_a_channel_runs_as_code(
    channel: Path, tmp_path: Path, prepare: Callable[[Path, bytes], None], sentence: str
) -> None:
    trace = tmp_path / "trace"
    prepare(channel, pickle.dumps(Attack(trace)))
    with pytest.raises(SettingsError, match=sentence):
        load_model(channel, "", ("bad", "good"), "single_label_classification", 16)
    assert not trace.exists()


def test_the_attack_would_show(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Attack(tmp_path / "trace")))  # noqa: S301
    assert (tmp_path / "trace").exists()


def test_pickles_next_to_safetensors_are_ignored(channel: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin"):
        (channel / name).write_bytes(pickle.dumps(Attack(tmp_path / "trace")))
    load_model(channel, "", ("bad", "good"), "single_label_classification", 16)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_the_channel_is_not_followed(channel: Path, tmp_path: Path, name: str) -> None:
    (channel / name).rename(tmp_path / name)
    (channel / name).symlink_to(tmp_path / name)
    with pytest.raises(SettingsError, match=f"a link that points outside it, {name}; replace it with the file"):
        load_model(channel, "", ("bad", "good"), "single_label_classification", 16)


@pytest.mark.parametrize(
    ("name", "target", "sentence"),
    [
        ("loop", "loop", "a broken link, loop; replace it with the file itself"),
        ("model.safetensors", "gone", "a broken link, model.safetensors; replace it"),
        ("deep", "../model/../model/deep", "a broken link, deep; replace it with the file itself"),
    ],
)
def test_a_link_to_itself_or_to_nothing_is_named(channel: Path, name: str, target: str, sentence: str) -> None:
    (channel / name).unlink(missing_ok=True)
    (channel / name).symlink_to(target)
    with pytest.raises(SettingsError, match=sentence):
        load_model(channel, "", ("bad", "good"), "single_label_classification", 16)


def test_a_link_to_its_own_parent_is_not_followed_for_ever(channel: Path) -> None:
    (channel / "again").symlink_to(channel, target_is_directory=True)
    load_model(channel, "", ("bad", "good"), "single_label_classification", 16)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "other"])
def test_a_pipe_is_not_waited_for(channel: Path, name: str) -> None:
    (channel / name).unlink(missing_ok=True)
    os.mkfifo(channel / name)
    with pytest.raises(SettingsError, match=f"has a pipe, socket or device, {name}; provide a model folder of plain"):
        load_model(channel, "", ("bad", "good"), "single_label_classification", 16)


def test_folders_in_one_another_have_a_bound(channel: Path) -> None:
    channel.joinpath(*["a"] * 300).mkdir(parents=True)
    with pytest.raises(SettingsError, match="the channel 'model' has folders nested more than 64 deep; provide"):
        load_model(channel, "", ("bad", "good"), "single_label_classification", 16)


@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_folder_that_may_not_be_read_is_named(channel: Path, mode: int) -> None:
    (channel / "more").mkdir()
    (channel / "more" / "a.json").touch()
    with closed(channel / "more", mode) as user, pytest.raises(SettingsError) as refused:
        model_directory(channel, print)
    assert str(refused.value) == (
        f"{channel.name}/more cannot be read (Permission denied); make it readable for user {user}"
    )


def test_an_archive_of_several_models_names_them(channel: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        for name in ("a", "b"):
            archive.add(channel, name)
    packed = tmp_path / "packed"
    packed.mkdir()
    (tmp_path / "model.tar.gz").rename(packed / "model.tar.gz")
    with pytest.raises(SettingsError, match="the channel 'model' has several models: a, b; give the folder of one"):
        model_directory(packed, print)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_named(channel: Path, name: str) -> None:
    with closed(channel / name) as user, pytest.raises(SettingsError) as refused:
        load_model(channel, "", ("bad", "good"), "single_label_classification", 16)
    assert str(refused.value) == (
        f"the model cannot be used: {name} cannot be read (Permission denied); make it readable for user {user}"
    )


def test_a_link_within_the_channel_is_followed(channel: Path) -> None:
    """As the hub's own cache lays out its files."""
    (channel / "blobs").mkdir()
    (channel / "model.safetensors").rename(channel / "blobs" / "1234")
    (channel / "model.safetensors").symlink_to(Path("blobs") / "1234")
    load_model(channel, "", ("bad", "good"), "single_label_classification", 16)
