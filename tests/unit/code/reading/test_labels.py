from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.reading.fields import BadRow
from text_classifier.reading.label_map import LabelMap, natural, normalize, number, parse_label_map
from text_classifier.reading.labels import Labels, Numbers
from text_classifier.tasks.classes import balanced_weights, without_rows


def mapped(text: str, *labels: str) -> list[int]:
    label_map = parse_label_map(text)
    assert label_map is not None
    return [label_map.index(label) for label in labels]


def test_without_a_map_each_label_is_a_class_in_natural_order() -> None:
    labels = Labels(parse_label_map(" "), drops_unknown=False)
    codes = [labels.code(label) for label in ("10", "2", " 2 ", "2.0", '"2"', "1")]
    label_map, index_of_code = labels.to_map()
    assert label_map.classes == ("1", "2", "10")
    assert index_of_code[codes].tolist() == [2, 1, 1, 1, 1, 0]
    assert [label_map.index(label) for label in ("2.0", "10", " 1", "3")] == [1, 2, 0, -1]


def test_a_map_joins_labels_and_gives_the_order() -> None:
    label_map = parse_label_map("4,5=positive; 1, 2,3 = negative")
    assert isinstance(label_map, LabelMap) and label_map.classes == ("positive", "negative")
    assert [label_map.index(label) for label in ("1", "4.0", "5", "6")] == [1, 0, 0, -1]


def test_a_map_has_ranges_of_numbers() -> None:
    text = "1-3=negative;3.5-5=positive"
    assert mapped(text, "1", "2.5", "3.0", "3.2", "3.5", "5", "5.1", "x", "nan") == [0, 0, 0, -1, 1, 1, -1, -1, -1]
    assert mapped("-4--0.5=bad;0.5-4=good", "-4", "-0.5", "0", "0.5") == [0, 0, -1, 1]
    assert mapped("18-25=young;26-99=old", "18-25", "20", "26-99", "25.5") == [0, 0, 1, -1]


def test_an_underscore_makes_no_number() -> None:
    """Python's float reads 1_0 as 10."""
    assert number("1_0") is None
    label_map = parse_label_map("1-20=low;21-40=high")
    assert label_map is not None
    assert (label_map.index("10"), label_map.index("1_0")) == (0, -1)
    with pytest.raises(BadRow, match="has the label '1_0', which is not a number"):
        Numbers().read("1_0", "label")


def test_natural_order() -> None:
    assert sorted(["b", "a10", "a2", "-1", "10", "2", ""], key=natural) == ["", "-1", "2", "10", "a2", "a10", "b"]


@given(st.lists(st.text(max_size=8)))
def test_any_labels_have_an_order_and_one_spelling(labels: list[str]) -> None:
    ordered = sorted(set(labels), key=natural)
    ordered.reverse()
    assert sorted(ordered, key=natural, reverse=True) == ordered
    assert all(normalize(f" {label} ") == normalize(label) for label in labels)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2", "label_map has the invalid part '1,2'; write it as in"),
        ("1=;2=b", "label_map has the invalid part '1='; write it as in"),
        ("1=a;1=b", "label_map puts '1' into two classes; remove it from one"),
        ("1-3=a;3-5=b", "label_map puts 3 into two classes; remove it from one"),
        ("1-5=a;2=b", "label_map puts 2 into two classes; remove it from one"),
        ('{"1": "a", "2": "b", "1": "b"}', "label_map puts '1' into two classes; remove it from one"),
        ('{"1": {"x": "a"}, "2": "b"}', "label_map maps '1' to {'x': 'a'}; write it as in"),
        ("3-1=a;4=b", "label_map has the range '3-1'; write the smaller number first"),
        ("1=a", "label_map '1=a' has fewer than two classes"),
    ],
)
def test_a_bad_map_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_label_map(text)
    assert str(caught.value).startswith(sentence)


def test_one_class_alone_is_refused() -> None:
    labels = Labels(None, drops_unknown=False)
    labels.code("5"), labels.code("5.0")
    with pytest.raises(DataError, match="all rows have the label '5'; a classifier needs at least two classes"):
        labels.to_map()
    assert without_rows(np.array([2, 0, 2]), ("a", "b", "c")) == ["b"]


def test_10_001_classes_are_refused() -> None:
    labels = Labels(None, drops_unknown=False)
    for each in range(10_000):
        labels.code(f"name{each}")
    with pytest.raises(DataError, match="the label column has more than 10,000 distinct labels \\(name0, name1"):
        labels.code("one more")


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    classes = np.repeat([0, 1, 2], [61, 30, 9])
    weights = balanced_weights(classes, 3)
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=classes))
    assert weights[classes].mean() == pytest.approx(1)
