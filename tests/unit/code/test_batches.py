from __future__ import annotations

import numpy as np
import pytest

from batches import Split, collate, epoch_rows, evaluation_rows, training_batches
from tokens import Tokens


def split_of(rows: int) -> Split:
    lengths = np.random.default_rng(0).integers(2, 40, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Split(Tokens(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets), np.arange(rows) % 3)


def test_an_epoch_has_every_row_once_and_depends_on_seed_and_epoch_alone() -> None:
    lengths = split_of(1003).tokens.lengths
    order = epoch_rows(lengths, 8, seed=1, epoch=1)
    assert sorted(np.concatenate(order)) == list(range(1003))
    assert [len(rows) for rows in order] == [8] * 125 + [3]
    again = epoch_rows(lengths, 8, seed=1, epoch=1)
    assert all(np.array_equal(a, b) for a, b in zip(order, again, strict=True))
    for seed, epoch in ((1, 2), (2, 1)):
        assert not np.array_equal(np.concatenate(order), np.concatenate(epoch_rows(lengths, 8, seed, epoch)))


def test_rows_of_like_length_stand_together() -> None:
    lengths = split_of(4000).tokens.lengths
    padded = sum(lengths[rows].max() * len(rows) for rows in epoch_rows(lengths, 32, seed=1, epoch=1))
    assert padded / lengths.sum() < 1.05


@pytest.mark.parametrize("rows", [96, 97, 101])
def test_the_shares_of_two_ranks_are_disjoint_and_make_the_batches_of_one(rows: int) -> None:
    split = split_of(rows)
    whole = epoch_rows(split.tokens.lengths, 8, seed=1, epoch=1)
    first, second = (
        list(training_batches(split, 0, batch_size=8, seed=1, epoch=1, rank=rank, world_size=2)) for rank in (0, 1)
    )
    assert len(first) == len(second) == len(whole)
    for a, b, both in zip(first, second, whole, strict=True):
        shares = [batch.input_ids[batch.weight > 0, 0].tolist() for batch in (a, b)]  # first ids are unique to a row
        assert not set(shares[0]) & set(shares[1])
        assert sorted(shares[0] + shares[1]) == sorted(split.tokens.ids[split.tokens.offsets[both]].tolist())
        assert a.rows_of_all_ranks == b.rows_of_all_ranks == len(both)


def test_collate_pads_to_the_longest_and_masks_the_padding() -> None:
    split = Split(Tokens(np.array([5, 6, 7, 8, 9], dtype=np.int32), np.array([0, 2, 5])), np.array([0, 1]))
    batch = collate(split, np.array([0, 1]), pad_id=0, rows_of_all_ranks=2)
    assert batch.input_ids.tolist() == [[5, 6, 0], [7, 8, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.classes.tolist() == [0, 1]


def test_evaluation_has_every_row_once_over_all_ranks() -> None:
    split = split_of(101)
    rows = [row for rank in range(3) for batch in evaluation_rows(split, 8, rank, 3) for row in batch]
    assert sorted(rows) == list(range(101))
