from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.jobs import Job
from text_classifier.contract.errors import PreparationError, SettingsError, describe
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data
from text_classifier.modeling.tokenizer import load_tokenizer
from text_classifier.preparation.files import refuse
from text_classifier.preparation.rows import write_rows
from text_classifier.preparation.tokens import TOKENS, map_tokens, prepare_tokens, split_digest, write_tokens
from text_classifier.runtime.folders import JobFolders
from text_classifier.tokenization.tokens import Tokens, tokenize
from text_classifier.tokenization.unknown import unknown_share


@pytest.fixture
def data(ready_job: Job, tmp_path: Path) -> Data:
    return read_data(JobFolders(ready_job.base).data_channels(), parse({}), folder=tmp_path)


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model, "")


def test_tokens_are_mapped_as_they_were_made(data: Data, tokenizer: Any, tmp_path: Path) -> None:
    write_rows(data, tmp_path)
    prepare_tokens(parse({"max_sequence_length": "6"}), tokenizer, tmp_path)
    mapped = map_tokens(tmp_path)
    assert list(mapped.tokens) == list(data.splits)
    for name, rows in data.splits.items():
        made = tokenize(tokenizer, rows.texts, 6)
        assert made.truncated == mapped.tokens[name].truncated > 0
        np.testing.assert_array_equal(mapped.tokens[name].ids, made.ids)
        np.testing.assert_array_equal(mapped.tokens[name].offsets, made.offsets)
        assert mapped.tokens[name].second is None
        assert mapped.unknown[name] == unknown_share(made.ids, tokenizer)
        assert mapped.digests[name] == split_digest(made, rows.targets)


def test_the_digest_of_a_split_stays_that_of_older_checkpoints() -> None:
    ids, offsets, targets = np.arange(5, dtype=np.int32), np.array([0, 2, 5]), np.array([1, 0])
    content = ids.tobytes() + offsets.tobytes() + targets.tobytes()
    assert split_digest(Tokens(ids, offsets, 0), targets) == hashlib.sha256(content).hexdigest()


def test_windows_are_mapped_as_they_were_made(data: Data, tokenizer: Any, tmp_path: Path) -> None:
    write_rows(data, tmp_path)
    settings = {"max_sequence_length": "8", "long_texts": "mean", "window_stride": "2"}
    prepare_tokens(parse(settings), tokenizer, tmp_path)
    mapped = map_tokens(tmp_path)
    for name, rows in data.splits.items():
        made, found = tokenize(tokenizer, rows.texts, 8, stride=2), mapped.tokens[name]
        assert made.windows is not None and found.windows is not None
        assert len(found) == len(made) > len(rows) and found.truncated == 0
        for one, other in (
            (found.ids, made.ids),
            (found.offsets, made.offsets),
            (found.windows.first, made.windows.first),
            (found.windows.lengths, made.windows.lengths),
        ):
            np.testing.assert_array_equal(one, other)


def test_pairs_are_mapped_with_their_token_types_which_the_digest_covers(
    job: Job, tokenizer: Any, tmp_path: Path
) -> None:
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    rows = "".join(f"good {'bad ' * (n % 5)},fine great,{n % 2}\n" for n in range(40))
    job.write("train", "a.csv", "a,b,label\n" + rows)
    settings = parse({"text_columns": "a", "text_pair_columns": "b", "max_sequence_length": "8"})
    data = read_data(JobFolders(job.base).data_channels(), settings, folder=tmp_path)
    write_rows(data, tmp_path)
    prepare_tokens(settings, tokenizer, tmp_path)
    mapped = map_tokens(tmp_path)
    for name, split in data.splits.items():
        made = tokenize(tokenizer, split.texts, 8, is_pair=True)
        assert made.second is not None
        assert made.truncated == mapped.tokens[name].truncated > 0
        for array in ("ids", "offsets", "second"):
            np.testing.assert_array_equal(getattr(mapped.tokens[name], array), getattr(made, array))
    (tmp_path / "other").mkdir()
    write_tokens(data, tokenizer, 8, tmp_path / "other")
    assert map_tokens(tmp_path / "other").digest != mapped.digest


def test_the_digest_is_that_of_tokens_targets_and_classes(data: Data, tokenizer: Any, tmp_path: Path) -> None:
    training = data.splits["train"]
    changes = [
        data,
        replace(data, classes=("a", "b")),
        replace(data, splits=data.splits | {"train": replace(training, targets=1 - training.targets)}),
        replace(data, splits=data.splits | {"train": training.take(np.arange(len(training))[::-1])}),
        data,
    ]
    digests = []
    for number, changed in enumerate(changes):
        (tmp_path / str(number)).mkdir()
        write_tokens(changed, tokenizer, 16, tmp_path / str(number))
        digests.append(map_tokens(tmp_path / str(number)).digest)
    assert len(set(digests)) == 4 and digests[0] == digests[-1]


def test_a_tokenizer_that_fails_can_be_refused(data: Data, tmp_path: Path) -> None:
    class Failing:
        def __call__(self, *_: Any, **__: Any) -> Any:
            raise ValueError("no such token")

    with pytest.raises(SettingsError, match="the model's tokenizer fails on a text") as refused:
        write_tokens(data, Failing(), 16, tmp_path)  # type: ignore[arg-type]
    refuse(tmp_path / TOKENS, refused.value)
    with pytest.raises(PreparationError) as read:
        map_tokens(tmp_path)
    assert describe(read.value) == describe(refused.value)
