from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from text_classifier.contract.errors import SettingsError
from text_classifier.tokenization.chunks import regular_expressions
from text_classifier.tokenization.tokens import tokenize


def splitting(pattern: str) -> PreTrainedTokenizerFast:
    """A tokenizer that splits texts at what a regular expression matches."""
    backend = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def test_the_patterns_are_found_wherever_they_stand() -> None:
    tokenizer = splitting("a+")
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Replace(Regex("x{2}"), "x"), normalizers.Replace("y", "z")])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(), backend.pre_tokenizer])
    assert regular_expressions(tokenizer) == ["x{2}", "a+"]
    assert regular_expressions(object()) == []


def test_a_pattern_that_backtracks_without_end_is_one_sentence() -> None:
    """Oniguruma gives up after ten million steps at one place of a text."""
    with pytest.raises(SettingsError, match="fails on a text .*retry-limit-in-match over.*; use the tokenizer that"):
        tokenize(splitting("(a+)+$"), ["a" * 40 + "b"], 16)


#: At each place of the text, the pattern takes the square of the rest: half a minute, and below Oniguruma's limit.
QUADRATIC = """
import time
from test_chunks import splitting
from text_classifier.tokenization import chunks, tokens
chunks.LEAST_SECONDS, chunks.CHARACTERS_PER_SECOND, chunks._GRACE_SECONDS = 0.5, 1_000_000, 0.1
tokens.CHUNK = 1
try:
    tokens.tokenize(splitting(r"a*a*\\z"), ["a", "a" * 4000 + "b", "a"], 16)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


def test_a_pattern_that_takes_too_long_is_one_sentence_and_ends_the_process() -> None:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, os.path.dirname(__file__)])}
    done = subprocess.run(
        [sys.executable, "-c", QUADRATIC], env=variables, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (
        0,
        "SettingsError: the model's tokenizer takes more than 1 CPU-seconds for 4,002 characters (regular expressions "
        "in tokenizer.json: 'a*a*\\\\z'); use the tokenizer that the model was trained with\n",
    ), done.stderr
