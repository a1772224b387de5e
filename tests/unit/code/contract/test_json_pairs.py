from __future__ import annotations

import pytest

from text_classifier.contract.json_pairs import json_pairs


def test_a_name_that_occurs_twice_stays() -> None:
    assert json_pairs('{"a": 1, "b": {"c": 2}, "a": [{}]}') == [("a", 1), ("b", {"c": 2}), ("a", [{}])]
    assert json_pairs(" {} ") == []


@pytest.mark.parametrize("text", ['{"a": 1', "{a: 1}", "{}{}", '{"a": ' * 100_000])
def test_what_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        json_pairs(text)
