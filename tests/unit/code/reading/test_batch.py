from __future__ import annotations

import math
from typing import Any

import pytest

from text_classifier.reading.batch import Collector
from text_classifier.reading.columns import Chosen


def distinct(labels: list[Any]) -> list[Any]:
    """The labels that are read for rows with these."""
    collector = Collector(None)
    collector.chosen = Chosen(("text",), ("label",))
    for number, label in enumerate(labels, start=1):
        collector.add(number, number, ("a text", label))
    batch = collector.take("row")
    assert [repr(batch.labels[index]) for index in batch.label_of] == [repr(label) for label in labels]
    return batch.labels


@pytest.mark.parametrize("values", [[0, 1], [0.0, 1.0], [False, True], ["", "a"], [2**70, -1], [math.inf, 1e-9]])
def test_equal_labels_are_read_once(values: list[Any]) -> None:
    assert distinct(values * 10) == values


def test_labels_that_are_written_differently_stay_apart() -> None:
    values = [0, 0.0, -0.0, False, "0", "0.0", 1, 1.0, True, "1", "True"]
    assert list(map(repr, distinct(values * 3))) == list(map(repr, values))
    assert len(distinct([float("nan") for _ in range(9)])) == 1
