from __future__ import annotations

import tempfile

import numpy as np
import pytest

from text_classifier.reading.strings import Strings, mapped

TEXTS = ["a", "", "gr\u00fcn\u2028\n\U0001f600", "\0", "e"]


def test_strings_are_those_that_were_given() -> None:
    strings = Strings.of(TEXTS)
    assert list(strings) == strings[:] == TEXTS and strings[-1] == "e" and strings[1:3] == TEXTS[1:3]
    assert Strings.of(strings) is strings and list(Strings.of([])) == []
    with pytest.raises(IndexError):
        strings[len(TEXTS)]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [2, 3], [4, 0, 1, 1, 3], []], ids=str)
def test_some_of_the_strings_are_taken_in_their_order(rows: list[int]) -> None:
    taken = Strings.of(TEXTS).take(np.array(rows, dtype=np.int64))
    assert list(taken) == [TEXTS[row] for row in rows]
    assert taken.size == len("".join(taken).encode())


def test_the_content_is_not_copied() -> None:
    strings = Strings.of(TEXTS)
    for some in (strings.take(np.array([1, 2])), strings.part(1, 3)):
        assert list(some) == TEXTS[1:3] and some.content is strings.content


def test_half_a_surrogate_pair_is_left_to_others() -> None:
    assert bytes(Strings.of(["\ud800"]).content) == b"\xed\xa0\x80"


@pytest.mark.parametrize("content", [b"text", b""])
def test_what_is_mapped_outlives_the_file(content: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        found = mapped(file)
    assert bytes(found) == content
