from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from text_classifier.reading.batch import Batch, Collector
from text_classifier.reading.columns import Chosen
from text_classifier.reading.fields import BadRow
from text_classifier.reading.piece import End
from text_classifier.reading.table import MISSING
from text_classifier.reading.wire import decode, encode


def read(labels: list[Any], chosen: Chosen | None = None, rest: tuple[Any, ...] = ()) -> Batch:
    collector = Collector(None)
    collector.chosen = chosen or Chosen(("text",), ("label",))
    for number, label in enumerate(labels):
        values = label if isinstance(label, tuple) else (label,)
        collector.add(number + 1, number + 2, (f"caf\u00e9 {number}", *values, *rest))
    collector.add_problem(99, 100, "is odd", "fix it")
    return collector.take("line")


def assert_same(batch: Batch, other: Batch | End) -> None:
    for name, value in vars(batch).items():
        found = vars(other)[name]
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype and found.tolist() == value.tolist()
        else:
            assert repr(found) == repr(value)


def test_labels_of_any_type_arrive_as_they_were() -> None:
    numbers = [1, 2**70, 1.5, float("nan"), float("inf")]
    labels = ["a", "\udcff", *numbers, True, None, MISSING, ["a", 0], {"choices": ["x"]}]
    batch = read(labels)
    other = decode(encode(batch))
    assert_same(batch, other)
    assert isinstance(other, Batch) and other.labels[9] is MISSING
    assert_same(batch, decode(encode(other)))


def test_the_fields_of_several_columns_arrive_as_they_were() -> None:
    chosen = Chosen(("text",), ("x", "y"), group="g", slice="s", id="i")
    batch = read([("1", MISSING), (0, None)], chosen, ("group", "slice", "caf\u00e9"))
    batch.more.append(BadRow("has no value", "fill it in"))
    other = decode(encode(batch))
    assert_same(batch, other)
    assert isinstance(other, Batch) and isinstance(other.more[2], BadRow) and other.more[2].remedy == "fill it in"


@pytest.mark.parametrize("key", ["\0kind", "missing", "fields", "value", "reason"])
@pytest.mark.parametrize("value", ["missing", "bad", "tuple", ["a"], {"value": {"missing": True}}])
def test_no_object_of_the_data_is_taken_for_another(key: str, value: Any) -> None:
    label = {key: value, "more": [{key: value}]}
    chosen = Chosen(("text",), ("x", "y"))
    for batch in (read([label, [label], MISSING]), read([(label, MISSING), ([label], 0)], chosen)):
        assert_same(batch, decode(encode(batch)))


def test_what_json_does_not_have_becomes_text() -> None:
    other = decode(encode(read([datetime.date(2026, 1, 2), Decimal("4.50"), [Decimal(1)]])))
    assert isinstance(other, Batch) and other.labels == ["2026-01-02", "4.50", ["1"]]


def test_the_end_of_a_piece_arrives() -> None:
    other = decode(encode(End("row", ("a note",), header=("a.csv", ("x", "y")), size=9, records=3, lines=4)))
    assert isinstance(other, End)
    assert (other.unit, list(other.notes), other.records, other.lines) == ("row", ["a note"], 3, 4)


def test_a_stranger_makes_no_other_objects() -> None:
    with pytest.raises(ValueError, match="OBJECT"):
        decode(encode(read(["a"])).replace(b'"<u4"', b'"|O8"'))
