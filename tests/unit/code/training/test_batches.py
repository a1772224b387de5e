from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from text_classifier.tokenization.tokens import Tokens
from text_classifier.tokenization.windows import Windows
from text_classifier.training.batches import Split, collate, epoch_rows, evaluation_rows, training_batches


class FirstIds:
    """A classifier's layout that shows which rows it was given."""

    def __init__(self, *, is_length_grouped: bool) -> None:
        self.is_length_grouped = is_length_grouped

    def inputs(self, tokens: Tokens, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"first": torch.from_numpy(tokens.ids[tokens.offsets[rows]])}


def split_of(rows: int) -> Split:
    """Rows of random length whose first ids are all different."""
    lengths = np.random.default_rng(0).integers(2, 40, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Split(Tokens(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets), np.arange(rows) % 3)


def windowed(counts: list[int]) -> Split:
    """As many windows of each text, of random length; the class of a text is its number."""
    tokens = split_of(sum(counts)).tokens
    windows = Windows(np.concatenate([[0], np.cumsum(counts)]), np.zeros(len(counts), dtype=np.int64))
    return Split(replace(tokens, windows=windows), np.arange(len(counts)))


@pytest.mark.parametrize("grouped", [False, True])
def test_an_epoch_has_every_row_once_and_depends_on_seed_and_epoch_alone(grouped: bool) -> None:
    lengths = split_of(1003).tokens.lengths
    order = epoch_rows(lengths, 8, seed=1, epoch=1, is_length_grouped=grouped)
    assert sorted(np.concatenate(order)) == list(range(1003))
    assert [len(rows) for rows in order] == [8] * 125 + [3]
    repeated = epoch_rows(lengths, 8, seed=1, epoch=1, is_length_grouped=grouped)
    assert all(np.array_equal(a, b) for a, b in zip(order, repeated, strict=True))
    for seed, epoch in ((1, 2), (2, 1)):
        other = epoch_rows(lengths, 8, seed, epoch, is_length_grouped=grouped)
        assert not np.array_equal(np.concatenate(order), np.concatenate(other))


def test_padded_batches_are_grouped_by_length() -> None:
    lengths = split_of(4000).tokens.lengths
    for grouped, least, most in ((True, 1.0, 1.05), (False, 1.5, 2.5)):
        batches = epoch_rows(lengths, 32, seed=1, epoch=1, is_length_grouped=grouped)
        assert least <= sum(lengths[rows].max() * len(rows) for rows in batches) / lengths.sum() < most


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("rows", [96, 97, 101])
def test_the_shares_of_two_ranks_are_disjoint_and_make_the_batches_of_one(rows: int, grouped: bool) -> None:
    split, classifier = split_of(rows), FirstIds(is_length_grouped=grouped)
    whole = epoch_rows(split.tokens.lengths, 8, seed=1, epoch=1, is_length_grouped=grouped)
    first, second = (list(training_batches(classifier, split, whole, rank=rank, world_size=2)) for rank in (0, 1))
    assert len(first) == len(second) == len(whole)
    for a, b, batch_rows in zip(first, second, whole, strict=True):
        shares = [batch.inputs["first"][batch.weight > 0].tolist() for batch in (a, b)]
        assert not set(shares[0]) & set(shares[1])
        assert sorted(shares[0] + shares[1]) == sorted(split.tokens.ids[split.tokens.offsets[batch_rows]].tolist())
        assert a.rows_of_all_ranks == b.rows_of_all_ranks == len(batch_rows)


def test_a_batch_is_sorted_by_length_and_keeps_each_rows_class() -> None:
    split = Split(Tokens(np.array([5, 6, 7, 8, 9], dtype=np.int32), np.array([0, 2, 5])), np.array([0, 1]))
    batch = collate(FirstIds(is_length_grouped=False), split, rows := np.array([0, 1]), rows_of_all_ranks=2)
    assert batch.inputs["first"].tolist() == [7, 5]
    assert batch.targets.tolist() == [1, 0]
    assert batch.rows.tolist() == rows[::-1].tolist()


def test_a_window_has_the_class_and_the_weight_of_its_text() -> None:
    split = windowed([3, 1, 2])
    batch = collate(FirstIds(is_length_grouped=False), split, np.array([5, 0, 3]), rows_of_all_ranks=3)
    text_of = {0: 0, 3: 1, 5: 2}
    assert batch.targets.tolist() == [text_of[row] for row in batch.rows.tolist()]
    # Six windows of three texts: a text weighs 2.
    weight_of = {0: 2 / 3, 3: 2.0, 5: 1.0}
    assert batch.weight.tolist() == pytest.approx([weight_of[row] for row in batch.rows.tolist()])
    dummy = collate(FirstIds(is_length_grouped=False), split, np.array([3]), rows_of_all_ranks=1, is_dummy=True)
    assert dummy.weight.tolist() == [0.0]
    assert split.texts_of(np.array([2, 3, 4])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_over_an_epoch_every_text_has_the_same_weight(world_size: int) -> None:
    counts = np.random.default_rng(2).integers(1, 6, 40).tolist()
    split, layout = windowed(counts), FirstIds(is_length_grouped=True)
    totals = np.zeros(len(split))
    rows = epoch_rows(split.tokens.lengths, 8, seed=1, epoch=1, is_length_grouped=True)
    for rank in range(world_size):
        for batch in training_batches(layout, split, rows, rank, world_size):
            np.add.at(totals, split.texts_of(batch.rows), batch.weight.numpy())
    assert totals == pytest.approx(np.full(len(split), sum(counts) / len(counts)))


def test_evaluation_has_every_row_once_over_all_ranks() -> None:
    split = split_of(101)
    rows = [row for rank in range(3) for batch in evaluation_rows(split, 8, rank, 3) for row in batch]
    assert sorted(rows) == list(range(101))


def test_rows_of_a_split_are_taken_with_their_tokens_and_targets() -> None:
    known = {"ids", "offsets", "truncated", "windows", "second"}, {"tokens", "targets", "class_weights"}
    assert ({each.name for each in fields(Tokens)}, {each.name for each in fields(Split)}) == known, "take() them too"
    split = replace(split_of(20), class_weights=np.ones(3, dtype=np.float32))
    split = replace(split, tokens=replace(split.tokens, second=np.arange(20, dtype=np.int32)))
    rows = np.array([7, 0, 19])
    taken = split.take(rows)
    assert taken.tokens.second is not None and taken.tokens.second.tolist() == rows.tolist()
    assert taken.class_weights is split.class_weights and taken.targets.tolist() == split.targets[rows].tolist()
    assert taken.tokens.lengths.tolist() == split.tokens.lengths[rows].tolist()
    for new, old in enumerate(rows):
        assert np.array_equal(taken.tokens.flat(np.array([new])), split.tokens.flat(np.array([old])))


def test_texts_are_taken_with_their_windows() -> None:
    split = windowed([2, 1, 3, 1])
    taken = split.take(np.array([2, 0]))
    assert taken.tokens.windows is not None and split.tokens.windows is not None
    assert taken.targets.tolist() == split.targets[[2, 0]].tolist()
    assert taken.tokens.windows.counts.tolist() == [3, 2]
    for new, old in enumerate([3, 4, 5, 0, 1]):
        assert np.array_equal(taken.tokens.flat(np.array([new])), split.tokens.flat(np.array([old])))
