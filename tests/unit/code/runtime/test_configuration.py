from __future__ import annotations

import json
from pathlib import Path

import pytest

from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.runtime.configuration import Configuration

GOOD = {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}


def write(folder: Path, **contents: object) -> Configuration:
    """The three files; those that are not given are good."""
    files = {"hyperparameters": {}, "resourceconfig": GOOD, "inputdataconfig": {}} | contents
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"{name}.json").write_bytes(raw)
    return Configuration(folder)


def test_hyperparameters_become_strings_without_sagemakers_own(tmp_path: Path) -> None:
    raw = {"epochs": "2", "seed": 3, "sagemaker_program": "x", "_tuning_objective_metric": "y"}
    configuration = write(tmp_path, hyperparameters=raw)
    assert configuration.hyperparameters() == {"epochs": "2", "seed": "3"}
    assert configuration.is_trial


def test_each_file_is_looked_for(tmp_path: Path) -> None:
    for name in ("hyperparameters", "resourceconfig", "inputdataconfig"):
        write(tmp_path).require()
        (tmp_path / f"{name}.json").unlink()
        with pytest.raises(PlatformError, match=f"{name}.json is missing; run the image as a SageMaker job or"):
            Configuration(tmp_path).require()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_encoding_of_json_is_read(tmp_path: Path, encoding: str) -> None:
    assert write(tmp_path, hyperparameters='{"seed": "é"}'.encode(encoding)).hyperparameters() == {"seed": "é"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "cannot be read .*; start the job again"),
        (b"", "cannot be read .*; start the job again"),
        (b"\xff\xfe\xff", "cannot be read .*; start the job again"),
        (b'{"a": ' + b"[" * 100_000, "cannot be read .*; start the job again"),
        (b"null", "does not hold a JSON object; start the job again"),
        (b"[]", "does not hold a JSON object; start the job again"),
    ],
)
@pytest.mark.parametrize("name", ["hyperparameters", "resourceconfig", "inputdataconfig"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises(PlatformError, match=f"{name}.json {sentence}"):
        write(tmp_path, **{name: content}).require()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"hosts": None}, "no list of names under 'hosts'"),
        ({"hosts": []}, "no list of names under 'hosts'"),
        ({"hosts": "algo-1"}, "no list of names under 'hosts'"),
        ({"hosts": [1]}, "no list of names under 'hosts'"),
        ({"hosts": ["algo-1", ""]}, "no list of names under 'hosts'"),
        ({"hosts": ["algo-1", "algo-1"]}, "the same name twice under 'hosts'"),
        ({"current_host": None}, "no name under 'current_host' that is one of 'hosts'"),
        ({"current_host": "algo-3"}, "no name under 'current_host' that is one of 'hosts'"),
        ({"current_host": {}}, "no name under 'current_host' that is one of 'hosts'"),
        ({"network_interface_name": 0}, "no text under 'network_interface_name'"),
        ({"current_instance_type": ["x"]}, "no text under 'current_instance_type'"),
        ({"current_group_name": {}}, "no text under 'current_group_name'"),
        ({"instance_groups": {}}, "no list of groups"),
        ({"instance_groups": ["x"]}, "no list of groups"),
        ({"instance_groups": [{"instance_group_name": "gpu"}]}, "no list of groups"),
        ({"instance_groups": [{"hosts": ["algo-1"]}]}, "no list of groups"),
        (
            {"instance_groups": [{"instance_group_name": "a", "hosts": ["b"], "instance_type": [1]}]},
            "no list of groups",
        ),
    ],
)
def test_a_resourceconfig_of_another_shape_is_one_sentence(
    tmp_path: Path, changed: dict[str, object], problem: str
) -> None:
    with pytest.raises(PlatformError, match=f"resourceconfig.json has {problem}.*; start the job again"):
        write(tmp_path, resourceconfig=GOOD | changed).require()


def test_null_is_absent(tmp_path: Path) -> None:
    nulls = dict.fromkeys(("topology", "network_interface_name", "instance_groups", "current_group_name"))
    assert write(tmp_path, resourceconfig=GOOD | nulls).resources() == GOOD


def test_a_channel_that_is_no_object_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="inputdataconfig.json has no object under 'train'; start the job again"):
        write(tmp_path, inputdataconfig={"train": None}).require()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"TrainingInputMode": "Pipe"}, "the channel 'test' comes in Pipe mode, which is not supported; use File"),
        (
            {"S3DataType": "AugmentedManifestFile"},
            "the channel 'test' is an augmented manifest, which is not supported",
        ),
        (
            {"TrainingInputMode": "Pipe", "AttributeNames": ["source-ref"]},
            "the channel 'test' is an augmented manifest",
        ),
    ],
)
def test_a_channel_that_does_not_come_as_files_is_one_sentence(
    tmp_path: Path, how: dict[str, object], sentence: str
) -> None:
    configuration = write(tmp_path, inputdataconfig={"train": {"TrainingInputMode": "FastFile"}, "test": how})
    with pytest.raises(SettingsError, match=sentence):
        configuration.require_readable_channels()


def test_the_mode_of_a_channel_that_nobody_reads_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, inputdataconfig={"code": {"TrainingInputMode": "Pipe"}}).require_readable_channels()


def test_sharded_channels_are_those_of_several_hosts(tmp_path: Path) -> None:
    how = {"train": {"S3DistributionType": "ShardedByS3Key"}, "test": {"S3DistributionType": "FullyReplicated"}}
    configuration = write(tmp_path, inputdataconfig=how)
    assert configuration.sharded_channels() == ["train"]
    configuration.require_readable_channels()
    alone = {"current_host": "algo-1", "hosts": ["algo-1"]}
    assert write(tmp_path, inputdataconfig=how, resourceconfig=alone).sharded_channels() == []


def test_a_model_in_parts_is_refused(tmp_path: Path) -> None:
    configuration = write(tmp_path, inputdataconfig={"model": {"S3DistributionType": "ShardedByS3Key"}})
    with pytest.raises(SettingsError, match="the channel 'model' is sharded by S3 key, so that each host has a"):
        configuration.require_readable_channels()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('"\\u0000"', "hyperparameter 'label_map' holds a NUL character; remove it"),
        ("a\0b", "hyperparameter 'label_map' holds a NUL character; remove it"),
        ("\ud83d", "hyperparameter 'label_map' has an unpaired surrogate; remove it"),
        ("é" * 70_000, "hyperparameter 'label_map' has 140,009 bytes; shorten it to 100,000"),
    ],
)
def test_a_value_that_no_process_could_be_given_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        write(tmp_path, hyperparameters={"label_map": text}).require()
