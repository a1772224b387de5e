"""Strings become settings, or one sentence."""

from __future__ import annotations

import pytest

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.parsing import from_arguments, parse


def test_an_alias_is_read_as_its_name() -> None:
    assert parse({"valid_batch_size": "7"}).eval_batch_size == 7
    assert from_arguments(["--valid_batch_size=7"]).eval_batch_size == 7
    with pytest.raises(SettingsError, match="'valid_batch_size' is an alias of 'eval_batch_size'; set only one"):
        parse({"valid_batch_size": "7", "eval_batch_size": "7"})


@pytest.mark.parametrize("text", ["0.1", '"0.1"', " 0.1 ", "1e-1"])
def test_values_are_read_plain_and_json_encoded(text: str) -> None:
    assert parse({"learning_rate": text}).learning_rate == 0.1


def test_arguments_in_both_spellings() -> None:
    settings = from_arguments(["--epochs", "2", "--label_map=1,2=bad;5=good"])
    assert (settings.epochs, settings.label_map) == (2, "1,2=bad;5=good")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--epocs=3"], "unknown hyperparameter 'epocs'; did you mean epochs?"),
        (["--epocs", "3"], "unknown hyperparameter 'epocs'; did you mean epochs?"),
        (["--qqq=3"], "unknown hyperparameter 'qqq'; valid names are model_name,"),
        (
            ["--epochs=many"],
            "hyperparameter epochs='many' is not an integer; set it to 1 or more (default 3)",
        ),
        (["--epochs=0"], "hyperparameter epochs=0 is out of range; set it to 1 or more (default 3)"),
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
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_arguments(arguments)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
