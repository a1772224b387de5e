from __future__ import annotations

import numpy as np
import pytest

from failures import DataError, SettingsError
from labels import label_map, natural, require_all_classes, sample, split
from reviews import Reviews


def rows(*labels: str) -> Reviews:
    return Reviews(["text"] * len(labels), list(labels), [f"a.tsv line {n + 2}" for n in range(len(labels))])


def test_without_a_map_each_label_is_a_class_in_natural_order() -> None:
    labels = label_map("", ["10", "2", " 2 ", "2.0", "1"])
    assert labels.classes == ("1", "2", "10")
    assert labels.apply(rows("2.0", "10", " 1")).tolist() == [1, 2, 0]


def test_a_map_joins_labels_and_gives_the_order() -> None:
    labels = label_map("4,5=positive; 1, 2,3 = negative", ["ignored"])
    assert labels.classes == ("positive", "negative")
    assert labels.apply(rows("1", "4.0", "5")).tolist() == [1, 0, 0]


def test_natural_order() -> None:
    assert sorted(["b", "a10", "a2", "-1", "10", "2", ""], key=natural) == [
        "",
        "-1",
        "2",
        "10",
        "a2",
        "a10",
        "b",
    ]


def test_a_label_outside_the_map_names_its_row() -> None:
    with pytest.raises(DataError, match="a.tsv line 3 has the label 'x', which is none of 1, 5; mend the row or add"):
        label_map("1=bad;5=good", []).apply(rows("1", "x"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2", "label_map has '1,2'; write it as"),
        ("1=;2=b", "label_map has '1='; write it as"),
        ("1=a;1=b", "label_map puts '1' into two classes; leave it in one"),
        ("1=a", "label_map '1=a' makes fewer than two classes"),
    ],
)
def test_a_bad_map_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        label_map(text, [])
    assert str(caught.value).startswith(sentence)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(DataError, match="all rows have the label '5'; a classifier needs at least two classes"):
        label_map("", ["5", "5.0"])
    with pytest.raises(DataError, match="no training row has the class 'b'"):
        require_all_classes(np.array([0, 0]), ("a", "b"))


def test_the_split_is_seeded_stratified_and_loses_no_row() -> None:
    classes = np.array([0] * 900 + [1] * 90 + [2] * 2 + [3])
    training, validation = split(classes, 0.9, seed=7)
    assert sorted([*training, *validation]) == list(range(len(classes)))
    assert np.bincount(classes[validation], minlength=4).tolist() == [90, 9, 1, 0]
    assert np.array_equal(split(classes, 0.9, seed=7)[1], validation)
    assert not np.array_equal(split(classes, 0.9, seed=8)[1], validation)


def test_the_sample_is_seeded_and_not_the_head() -> None:
    taken = sample(1000, 100, seed=7)
    assert len(set(taken)) == 100 and taken.max() > 500
    assert np.array_equal(sample(1000, 100, seed=7), taken)
    assert len(sample(1000, 0, seed=7)) == len(sample(1000, 5000, seed=7)) == 1000
