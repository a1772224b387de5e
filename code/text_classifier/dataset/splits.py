"""Row indices of the splits: the sample, the validation split, and texts that two splits share."""

from __future__ import annotations

import numpy as np

from text_classifier.runtime.seeds import SeedStream


def sample(strata: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Indices of a seeded, stratified sample of `wanted` rows in file order, or of all if there are fewer. int64.

    Each stratum (int64 [rows], such as the class) keeps two rows where `wanted` suffices for that, one to train on and
    one to validate with, else one; the strata with the most rows come first where it does not suffice for one.
    """
    if wanted >= len(strata):
        return np.arange(len(strata))
    random = np.random.default_rng((seed, SeedStream.ROW_SAMPLE))
    _, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    shuffled = random.permutation(len(strata))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]  # by stratum, at random within
    rank = np.arange(len(strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each row in its stratum
    size = np.repeat(sizes, sizes)
    # Rows are taken by their share of the stratum, the first ones of each stratum before all others.
    kept = 2 if wanted >= np.minimum(sizes, 2).sum() else 1
    is_first = rank < kept
    key = np.where(is_first, rank - kept, (rank + 0.5) / size)
    return np.sort(order[np.lexsort((-size, key))[:wanted]])


def split(strata: np.ndarray, train_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split row indices into training and validation, stratified: both in file order, int64.

    Each stratum (int64 [rows], such as the class) keeps at least one training row, and gives at least one to validation
    if it has two or more.
    """
    random = np.random.default_rng((seed, SeedStream.SPLIT))
    held_out = np.zeros(len(strata), dtype=bool)
    for index in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == index))
        wanted = round(len(rows) * (1 - train_size))
        held_out[rows[: min(max(wanted, 1), len(rows) - 1)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_groups(strata: np.ndarray, groups: np.ndarray, train_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `split`, with all rows of a group in the same split. A group's stratum is that of most of its rows.

    Only groups that are no larger than what a stratum gives to validation are held out, or else its smallest one. A
    stratum that is the most frequent one in no group may have rows in one split only.
    """
    _, group_of_row = np.unique(groups, return_inverse=True)
    most = _most_frequent(strata, group_of_row)
    random = np.random.default_rng((seed, SeedStream.SPLIT))
    sizes = np.bincount(group_of_row)
    held_out = np.zeros(len(sizes), dtype=bool)
    for index in np.unique(most):
        members = random.permutation(np.flatnonzero(most == index))
        wanted = round(sizes[members].sum() * (1 - train_size))
        small = members[sizes[members] <= wanted]
        if not len(small):
            small = members[[sizes[members].argmin()]]
        before = np.cumsum(sizes[small]) - sizes[small]
        count = max(int(np.searchsorted(before, wanted)), 1)
        held_out[small[: min(count, len(members) - 1)]] = True
    return np.flatnonzero(~held_out[group_of_row]), np.flatnonzero(held_out[group_of_row])


def folds(strata: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each row, 0 to count - 1, int64: stratified, with all rows of a group in the same fold.

    A group's stratum is that of most of its rows. No fold is empty if there are `count` groups or more.
    """
    _, group_of_row = np.unique(groups, return_inverse=True)
    stratum_of_group, sizes = _most_frequent(strata, group_of_row), np.bincount(group_of_row)
    random = np.random.default_rng((seed, SeedStream.FOLDS))
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]  # the small ones level out the large ones
    rows_of_stratum = np.zeros((strata.max() + 1, count), dtype=np.int64)
    rows = np.zeros(count, dtype=np.int64)
    found = np.empty(len(sizes), dtype=np.int64)
    for group in order.tolist():
        of_folds = rows_of_stratum[stratum_of_group[group]]
        fold = np.lexsort((rows, of_folds))[0]  # the one with the fewest rows of the stratum
        found[group] = fold
        of_folds[fold] += sizes[group]
        rows[fold] += sizes[group]
    return found[group_of_row]


def _most_frequent(strata: np.ndarray, group_of_row: np.ndarray) -> np.ndarray:
    """The most frequent stratum of each group, the first one of equals, int64 [groups]."""
    width = strata.max() + 1
    pairs, counts = np.unique(group_of_row * width + strata, return_counts=True)
    group, index = np.divmod(pairs, width)
    order = np.lexsort((-index, counts, group))  # the last entry of a group is its most frequent stratum
    most = np.empty(group[-1] + 1, dtype=np.int64)
    most[group[order]] = index[order]
    return most


def shared(training: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which training rows have a hash that is also in `others`, bool [training rows].

    Only the hashes, usually few, with the lowest bits of one of `others` are searched for.
    """
    low = np.uint64((1 << 22) - 1)
    is_candidate = np.zeros(int(low) + 1, dtype=bool)
    is_candidate[others & low] = True
    found = is_candidate[training & low]
    candidates, ordered = training[found], np.sort(others)  # np.isin hashes both, which takes longer
    found[found] = ordered[np.searchsorted(ordered[:-1], candidates)] == candidates
    return found
