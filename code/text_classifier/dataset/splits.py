"""Rows to splits: the sample, what is held out, and what stands on both sides."""

from __future__ import annotations

import numpy as np

from text_classifier.runtime.seeds import SeedStream


def sample(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Indices of a seeded sample of `wanted` rows in file order, or of all rows when wanted is 0. int64."""
    if not wanted or wanted >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng((seed, SeedStream.ROW_SAMPLE)).choice(rows, size=wanted, replace=False))


def split(strata: np.ndarray, train_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split row indices into training and validation, stratified: both in file order, int64.

    Each stratum (int64 [rows]; the class, for one) keeps at least one training row; one of two rows or more gives at
    least one to validation.
    """
    random = np.random.default_rng((seed, SeedStream.SPLIT))
    held_out = np.zeros(len(strata), dtype=bool)
    for index in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == index))
        wanted = round(len(rows) * (1 - train_size))
        held_out[rows[: min(max(wanted, 1), len(rows) - 1)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_groups(strata: np.ndarray, groups: np.ndarray, train_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `split`, with all rows of a group on one side. Stratified by the stratum that most rows of a group have.

    A stratum all of whose groups are of other strata may have rows on one side only.
    """
    _, group_of_row = np.unique(groups, return_inverse=True)
    most = _most_frequent(strata, group_of_row)
    random = np.random.default_rng((seed, SeedStream.SPLIT))
    sizes = np.bincount(group_of_row)
    held_out = np.zeros(len(sizes), dtype=bool)
    for index in np.unique(most):
        members = random.permutation(np.flatnonzero(most == index))
        wanted = round(sizes[members].sum() * (1 - train_size))
        before = np.cumsum(sizes[members]) - sizes[members]
        count = max(int(np.searchsorted(before, wanted)), 1)
        held_out[members[: min(count, len(members) - 1)]] = True
    return np.flatnonzero(~held_out[group_of_row]), np.flatnonzero(held_out[group_of_row])


def _most_frequent(strata: np.ndarray, group_of_row: np.ndarray) -> np.ndarray:
    """The stratum of most rows of each group; of equals the first. int64 [groups]"""
    width = strata.max() + 1
    pairs, counts = np.unique(group_of_row * width + strata, return_counts=True)
    group, index = np.divmod(pairs, width)
    order = np.lexsort((-index, counts, group))  # the last one of a group is its most frequent stratum
    most = np.empty(group[-1] + 1, dtype=np.int64)
    most[group[order]] = index[order]
    return most


def shared(training: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which training rows have a hash that other rows have too, bool [training rows]."""
    return np.isin(training, others)
