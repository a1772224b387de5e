from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_classifier.dataset.splits import folds, sample, shared, split, split_groups


def test_the_split_is_seeded_stratified_and_loses_no_row() -> None:
    classes = np.array([0] * 900 + [1] * 90 + [2] * 2 + [3])
    training, validation = split(classes, 0.9, seed=7)
    assert sorted([*training, *validation]) == list(range(len(classes)))
    assert np.bincount(classes[validation], minlength=4).tolist() == [90, 9, 1, 0]
    assert np.array_equal(split(classes, 0.9, seed=7)[1], validation)
    assert not np.array_equal(split(classes, 0.9, seed=8)[1], validation)


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_group_keeps_groups_whole_and_classes_in_proportion(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 400, 3000).astype(np.uint64)
    classes = (groups % np.uint64(3) == 0).astype(np.int64) ^ (random.random(3000) < 0.1)
    training, validation = split_groups(classes, groups, 0.8, seed)
    assert sorted([*training, *validation]) == list(range(3000))
    assert not set(groups[training]) & set(groups[validation])
    assert len(validation) == pytest.approx(600, abs=25)
    assert classes[validation].mean() == pytest.approx(classes.mean(), abs=0.05)
    assert np.array_equal(split_groups(classes, groups, 0.8, seed)[1], validation)


def groups_of(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes).astype(np.uint64)


def held_out(groups: np.ndarray, seed: int, train_size: float = 0.9) -> np.ndarray:
    return split_groups(np.zeros(len(groups), dtype=np.int64), groups, train_size, seed)[1]


@pytest.mark.parametrize(
    "sizes",
    [[900, *[5] * 20], [450, 450, *[10] * 10], [300, *[1] * 700], [90, 110, 800]],
    ids=lambda sizes: str(sizes[:4]),
)
def test_a_group_larger_than_the_held_out_share_is_trained_on(sizes: list[int]) -> None:
    shares = [len(held_out(groups_of(*sizes), seed)) / 1000 for seed in range(200)]
    assert shares == pytest.approx([0.1] * 200, abs=0.011)


def test_of_groups_that_are_all_too_large_the_smallest_is_held_out() -> None:
    assert all(set(held_out(groups_of(400, 250, 350), seed)) == set(range(400, 650)) for seed in range(20))


@given(st.lists(st.integers(1, 60), min_size=2, max_size=40), st.sampled_from([0.5, 0.8, 0.9]), st.integers(0, 9))
def test_less_than_twice_the_share_is_held_out_where_a_group_is_small_enough(
    sizes: list[int], train_size: float, seed: int
) -> None:
    wanted = round(sum(sizes) * (1 - train_size))
    limit = 2 * wanted if min(sizes) <= wanted else min(sizes) + 1
    assert 0 < len(held_out(groups_of(*sizes), seed, train_size)) < limit


def test_groups_of_usual_sizes_are_drawn_as_ever() -> None:
    """The rows that are held out belong to a job's results."""
    groups = np.random.default_rng(1).integers(0, 40, 400).astype(np.uint64)
    assert sorted(set(groups[held_out(groups, seed=42)])) == [11, 12, 21, 30]


def test_a_class_of_one_group_stays_in_training() -> None:
    classes = np.array([0, 0, 0, 0, 1, 1])
    training, validation = split_groups(classes, np.array([1, 2, 3, 3, 4, 4], dtype=np.uint64), 0.5, seed=1)
    assert {4, 5} <= set(training) and len(validation)


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_seeded_stratified_and_keep_groups_whole(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 300, 1000).astype(np.uint64)
    classes = (groups % np.uint64(4) == 0).astype(np.int64)
    found = folds(classes, groups, 5, seed)
    assert all(len(set(found[groups == group])) == 1 for group in groups)
    assert np.bincount(found).tolist() == pytest.approx([200] * 5, abs=2)
    assert np.bincount(found[classes == 1]) == pytest.approx([classes.sum() / 5] * 5, abs=2)
    assert np.array_equal(folds(classes, groups, 5, seed), found)
    assert not np.array_equal(folds(classes, groups, 5, seed + 1), found)


def test_folds_of_rows_without_groups_differ_by_one_row_of_a_class() -> None:
    classes = np.array([0] * 23 + [1] * 11 + [2] * 2 + [3])
    found = folds(classes, np.arange(len(classes)), 4, seed=1)
    for rows in (found, found[classes == 0], found[classes == 1]):
        counts = np.bincount(rows, minlength=4)
        assert counts.max() - counts.min() <= 1
    assert len(set(found[classes == 2])) == 2


def test_no_fold_is_empty_with_as_many_groups() -> None:
    found = folds(np.array([0, 1, 2, 2, 2, 2]), np.array([7, 8, 9, 9, 9, 9]), 3, seed=1)
    assert sorted(set(found)) == [0, 1, 2]


def test_the_sample_is_seeded_and_not_the_head() -> None:
    strata = np.zeros(1000, dtype=np.int64)
    taken = sample(strata, 100, seed=7)
    assert len(set(taken)) == 100 and taken.max() > 500
    assert np.array_equal(sample(strata, 100, seed=7), taken)
    assert len(sample(strata, 1000, seed=7)) == len(sample(strata, 5000, seed=7)) == 1000


@pytest.mark.parametrize("seed", range(5))
def test_the_sample_is_stratified_and_keeps_rare_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    strata = random.permutation(np.repeat(np.arange(12), [5_000, 3_000, *[3] * 9, 1]))
    taken = strata[sample(strata, 400, seed)]
    counts = np.bincount(taken, minlength=12)
    assert len(taken) == 400 and (counts[2:11] >= 2).all() and counts[11] == 1
    assert counts[0] / counts[1] == pytest.approx(5 / 3, abs=0.05)
    few = np.bincount(strata[sample(strata, 15, seed)], minlength=12)
    assert few.sum() == 15 and (few >= 1).all()
    fewer = np.bincount(strata[sample(strata, 5, seed)], minlength=12)
    assert fewer.sum() == 5 and fewer.max() == 1 and fewer[:2].tolist() == [1, 1]


def test_rows_on_both_sides_are_found() -> None:
    top = 1 << 63  # hashes that end with the same bits are not the same
    training, others = np.array([1, 2, 3, 2, top + 2], np.uint64), np.array([2, 9, top + 1], np.uint64)
    assert shared(training, others).tolist() == [False, True, False, True, False]
