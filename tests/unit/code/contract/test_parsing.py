"""Strings become settings, or one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.jobs import Job
from text_classifier.contract.errors import SettingsError, describe
from text_classifier.contract.hyperparameters import TABLE
from text_classifier.contract.parsing import ALIASES, from_arguments, parse


def test_an_alias_is_read_as_its_name() -> None:
    assert parse({"valid_batch_size": "7"}).eval_batch_size == 7
    assert from_arguments(["--valid_batch_size=7"]).eval_batch_size == 7
    with pytest.raises(SettingsError, match="'valid_batch_size' is an alias of 'eval_batch_size'; set only one"):
        parse({"valid_batch_size": "7", "eval_batch_size": "7"})


@pytest.mark.parametrize("text", ["0.1", '"0.1"', " 0.1 ", "1e-1"])
def test_values_are_read_plain_and_json_encoded(text: str) -> None:
    assert parse({"learning_rate": text}).learning_rate == 0.1


@pytest.mark.parametrize("text", [" ", "\t", "\n "])
def test_only_separators_may_be_white_space(text: str) -> None:
    values = dict.fromkeys(("label_separator", "delimiter", "label_column", "checkpoint_dir"), text)
    for settings in (
        parse({"task": "multi_label", **values}),
        from_arguments(["--task=multi_label", *(f"--{name}={space}" for name, space in values.items())]),
    ):
        assert (settings.label_separator, settings.delimiter) == (text, text)
        assert (settings.label_column, settings.checkpoint_dir) == ("", "")


@pytest.mark.parametrize("text", ["1000", "1000.0", "1e3", "1.0E+3", '"1e3"'])
def test_an_integer_may_be_written_as_a_float_is(text: str) -> None:
    assert parse({"max_data_rows": text}).max_data_rows == 1000


@pytest.mark.parametrize("text", ["15e-1", "1e400", "1e", "e3", "1.5"])
def test_a_float_that_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not an integer"):
        parse({"max_data_rows": text})


def test_arguments_in_both_spellings() -> None:
    settings = from_arguments(["--epochs", "2", "--label_map=1,2=bad;5=good"])
    assert (settings.epochs, settings.label_map) == (2, "1,2=bad;5=good")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--epocs=3"], "unknown hyperparameter 'epocs'; did you mean epochs?"),
        (
            ["--early_stopping_min_delta=0.1"],
            "early_stopping_min_delta does nothing without early_stopping_patience; set it too, or remove",
        ),
        (
            ["--window_stride=8"],
            "window_stride does nothing without long_texts=mean; set it too, or remove window_stride",
        ),
        (
            ["--long_texts=mean", "--window_stride=126"],
            "window_stride=126 is how many tokens consecutive windows share and must be less than 126, as max_sequence",
        ),
        (["--long_texts=mean", "--max_sequence_length=34"], "window_stride=32 is how many tokens consecutive windows"),
        (["--doc_stride=8"], "unknown hyperparameter 'doc_stride'; it is called window_stride here"),
        (["--cross_validation=1"], "cross_validation=1 leaves no rows to train on; set it to 2 or more, or to 0"),
        (["--n_splits=5"], "unknown hyperparameter 'n_splits'; it is called cross_validation here"),
        (["--epocs", "3"], "unknown hyperparameter 'epocs'; did you mean epochs?"),
        (["--qqq=3"], "unknown hyperparameter 'qqq'; valid names are model_name,"),
        (
            ["--epochs=many"],
            "hyperparameter epochs='many' is not an integer; set it to 1 or more (default 3)",
        ),
        (["--epochs=0"], "hyperparameter epochs=0 is out of range; set it to 1 or more (default 3)"),
        (["--epochs=1_0"], "hyperparameter epochs='1_0' is not an integer; set it to 1 or more (default 3)"),
        (["--learning_rate=1_0"], "hyperparameter learning_rate='1_0' is not a number"),
        (["--learning_rate=nan"], "hyperparameter learning_rate=nan is out of range"),
        (["--learning_rate=inf"], "hyperparameter learning_rate=inf is out of range"),
        (
            ["--train_size=1"],
            "hyperparameter train_size=1 is out of range; set it to 0.01 or more and less than 1",
        ),
        (
            ["--precision=fp8"],
            "hyperparameter precision='fp8' is not valid; set it to one of auto, fp32, bf16",
        ),
        (["epochs=3"], "unexpected argument 'epochs=3'; write hyperparameters as --name=value"),
        (
            ["--text_pair_columns=b"],
            "text_pair_columns names the second text of a pair; set text_columns to the columns of the first",
        ),
        (["--text_columns=a", "--text_pair_columns=,"], "text_pair_columns=',' names no column; correct it"),
        (["--text_columns=a", "--text_pair_columns=[ ]"], "text_pair_columns='[ ]' names no column; correct it"),
        (["--text_columns=[]", "--text_pair_columns=b"], "text_columns='[]' names no column; correct it"),
        (
            ["--text_columns=a", "--text_pair_columns=b", "--max_sequence_length=5"],
            "max_sequence_length=5 leaves too few tokens for a pair of texts; set it to 6 or more, or remove",
        ),
        (
            ["--text_columns=a", "--text_pair_columns=b", "--truncation=tail"],
            "truncation=tail applies to single texts; remove it, or remove text_pair_columns",
        ),
        (
            ["--long_texts=mean", "--truncation=tail"],
            "long_texts=mean reads whole single texts and excludes truncation=tail; remove one of them",
        ),
        (
            ["--long_texts=mean", "--text_columns=a", "--text_pair_columns=b"],
            "long_texts=mean reads whole single texts and excludes text_pair_columns; remove one of them",
        ),
        (["--text_pair=b"], "unknown hyperparameter 'text_pair'; it is called text_pair_columns here"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_arguments(arguments)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


TOKEN = "hf_" + "aB3" * 11


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epochs": "1\0"}, r"hyperparameter epochs='1\x00' has a NUL character or one that is not Unicode; remove it"),
        ({"checkpoint_dir": "/a\0b"}, r"hyperparameter checkpoint_dir='/a\x00b' has a NUL character or"),
        (
            {"label_map": "\ud800=1"},
            r"hyperparameter label_map='\ud800=1' has a NUL character or one that is not Unico",
        ),
        (
            {"label_map": '"\\ud800=1"'},
            r"hyperparameter label_map='\ud800=1' has a NUL character or one that is not Un",
        ),
        (
            {"text_columns": "x" * 200_000},
            "hyperparameter text_columns has 200,000 characters; shorten it to 20,000 at",
        ),
        ({"epochs": "[" * 200_000}, "hyperparameter epochs has 200,000 characters; shorten it to 20,000 at most"),
        (
            {"epochs": "9" * 9_000},
            f"hyperparameter epochs='{'9' * 59}... (9,002 characters) is not an integer; set it to",
        ),
        ({"seed": "4294967296"}, "hyperparameter seed=4294967296 is out of range; set it to at most 4294967295"),
        (
            {"collective_timeout_seconds": "1" + "0" * 15},
            "hyperparameter collective_timeout_seconds=1000000000000000 is",
        ),
        (
            {"x" * 200_000: "1"},
            f"unknown hyperparameter '{'x' * 59}... (200,002 characters); valid names are model_name",
        ),
        ({"\ufeffepochs": "1"}, r"unknown hyperparameter '\ufeffepochs'; did you mean epochs?"),
        ({"label_map": f"a={TOKEN}"}, "hyperparameter 'label_map' looks like a secret, and hyperparameters are stored"),
        (
            {"epochs": "password=hunter2hunter2"},
            "hyperparameter epochs='password=***' is not an integer; set it to 1 or",
        ),
        ({TOKEN: "1"}, "unknown hyperparameter 'hf_***'; valid names are"),
        (
            {"precision": "x\naccuracy=1;\x1b[31m"},
            r"hyperparameter precision='x\naccuracy=1;\x1b[31m' is not valid; set",
        ),
    ],
)
def test_hostile_values_are_one_short_sentence_without_secrets(values: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(values)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("arguments", [["--epochs"], ["--seed", "--epochs=1"]])
def test_a_name_without_a_value_is_an_error_like_any_other(arguments: list[str]) -> None:
    with pytest.raises(SettingsError, match="expected one argument; write hyperparameters as --name=value"):
        from_arguments(arguments)


def test_a_name_without_a_value_leaves_its_reason(job: Job) -> None:
    code, log = job.run("--epochs")
    assert code == 1 and job.failure == log.strip()
    assert (
        job.failure == "Your settings: argument --epochs: expected one argument; write hyperparameters as --name=value"
    )


names = st.sampled_from([*(row.name for row in TABLE), *ALIASES]) | st.text(max_size=8)
texts = st.text(max_size=12) | st.integers().map(str) | st.floats().map(str) | st.text(max_size=6).map(repr)


@given(st.dictionaries(names, texts, max_size=4))
def test_any_values_are_settings_or_one_sentence(values: dict[str, str]) -> None:
    for read in (lambda: parse(values), lambda: from_arguments([f"--{name}={text}" for name, text in values.items()])):
        try:
            read()
        except SettingsError as error:
            reason = describe(error)
            assert reason.startswith("Your settings: ") and reason.isprintable() and len(reason) < 900
