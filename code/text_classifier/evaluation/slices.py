"""Metrics of parts of a split: by length, and by the values of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from text_classifier.contract.schema import ColumnSlice, LengthSlice
from text_classifier.evaluation.intervals import Interval

#: Slices by length, with about equally many rows each.
SLICES = 4

#: At most this many slices by a column are listed, each with at least SMALLEST_SLICE rows.
MOST_SLICES = 20
SMALLEST_SLICE = 20

#: Row indices to metrics and their intervals.
Score = Callable[[np.ndarray], tuple[dict[str, float], dict[str, Interval]]]


def by_length(lengths: np.ndarray, score: Score, names: Sequence[str]) -> list[LengthSlice]:
    """Metrics of slices by length (int64 [rows], in tokens). `names` are the metrics of `score` to keep."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, SLICES + 1), method="higher"))
    slice_of = np.searchsorted(edges[1:-1], lengths, side="left")
    table = []
    for index in np.unique(slice_of):
        rows = np.flatnonzero(slice_of == index)
        tokens = [int(lengths[rows].min()), int(lengths[rows].max())]
        table.append({"tokens": tokens, **_of_rows(rows, score, names)})
    return cast(list[LengthSlice], table)


def by_slice(slice_of: np.ndarray, values: Sequence[str], score: Score, names: Sequence[str]) -> list[ColumnSlice]:
    """Metrics of the slices, largest first, then of all others together. slice_of int64 [rows]: indices of `values`."""
    counts = np.bincount(slice_of, minlength=len(values))
    order = np.argsort(-counts, kind="stable")[:MOST_SLICES]
    shown = order[counts[order] >= SMALLEST_SLICE]
    table: list[dict[str, Any]] = []
    for index in shown:
        table.append({"value": values[index], "slices": 1, **_of_rows(np.flatnonzero(slice_of == index), score, names)})
    pooled = np.flatnonzero(~np.isin(slice_of, shown))
    if len(pooled):
        many = len(np.unique(slice_of[pooled]))
        table.append({"value": None, "slices": many, **_of_rows(pooled, score, names)})
    return cast(list[ColumnSlice], table)


def _of_rows(rows: np.ndarray, score: Score, names: Sequence[str]) -> dict[str, Any]:
    """The common part of an entry."""
    values, intervals = score(rows)
    return {
        "rows": len(rows),
        **{name: values[name] for name in names},
        "intervals": {name: list(intervals[name]) for name in names},
    }
