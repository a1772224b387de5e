from __future__ import annotations

from dataclasses import replace

from text_classifier.contract.hyperparameters import TABLE, Settings
from text_classifier.contract.parsing import ALIASES, parse

TUTORIAL_NAMES = {
    "model_name", "epochs", "train_batch_size", "valid_batch_size", "learning_rate", "weight_decay", "adam_epsilon",
    "max_sequence_length", "max_data_rows", "train_size", "seed",
}  # fmt: skip


def test_the_tutorials_names_are_all_there() -> None:
    assert {row.name for row in TABLE} | set(ALIASES) >= TUTORIAL_NAMES


def test_every_hyperparameter_has_help_and_a_default_that_passes_its_own_check() -> None:
    for row in TABLE:
        assert row.help
        assert row.read(str(row.default)) == row.default
    assert parse({}) == replace(Settings(), metric_for_best_model="f1_macro")
