from __future__ import annotations

import numpy as np
import pytest

from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.tasks.base import Task
from text_classifier.tasks.classes import BETA, HEAVIEST, class_weights, positive_weights
from text_classifier.tasks.multi_label import MultiLabel
from text_classifier.tasks.single_label import SingleLabel

NAMES = ("bad", "good", "5")
TARGETS = np.repeat([0, 1, 2], [6000, 300, 2])
SETS = np.array([[1, 0, 0, 1]] * 3 + [[1, 1, 0, 0]] + [[1, 0, 0, 0]] * 996, dtype=np.uint8)


def test_effective_weights_are_those_of_the_paper_with_mean_1() -> None:
    found = class_weights("effective", TARGETS, NAMES)
    expected = np.array([(1 - BETA) / (1 - BETA**rows) for rows in (6000, 300, 2)])
    assert found is not None and found.dtype == np.float32
    assert found / found[0] == pytest.approx(expected / expected[0], rel=1e-6)
    assert found[TARGETS].mean(dtype=np.float64) == pytest.approx(1, rel=1e-6)
    balanced = class_weights("balanced", TARGETS, NAMES)
    assert balanced is not None and balanced[2] / balanced[0] > found[2] / found[0] > 1


def test_given_weights_are_used_as_they_are_and_other_classes_have_1() -> None:
    assert class_weights("none", TARGETS, NAMES) is None
    assert class_weights("good:2.5", TARGETS, NAMES).tolist() == [1, 2.5, 1]  # type: ignore[union-attr]
    assert class_weights("5.0:3", TARGETS, NAMES).tolist() == [1, 1, 3]  # type: ignore[union-attr]  # as labels are read
    assert positive_weights("good:2.5", SETS[:, :3], NAMES).tolist() == [1, 2.5, 1]  # type: ignore[union-attr]


def test_positive_weights_make_both_sides_of_a_label_equal_within_bounds() -> None:
    names = ("always", "once", "never", "rare")
    assert positive_weights("none", SETS, names) is None
    always, once, never, rare = positive_weights("balanced", SETS, names).tolist()  # type: ignore[union-attr]
    assert (always, once, never) == (1, HEAVIEST, 1)  # once: 999 negatives for one row
    assert rare == HEAVIEST
    half = np.tile(SETS[:4], (10, 1))
    assert positive_weights("balanced", half, names).tolist() == pytest.approx([1, 3, 1, 1 / 3])  # type: ignore[union-attr]
    effective = positive_weights("effective", half, names)
    wanted = (1 - BETA**30) / (1 - BETA**10)
    assert effective.tolist() == pytest.approx([1, wanted, 1, 1 / wanted])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("task", "targets"), [(SingleLabel(), TARGETS), (MultiLabel(","), SETS[:, [0, 1, 3]])], ids=["classes", "labels"]
)
def test_the_weight_of_an_unknown_class_is_refused_with_the_data(task: Task, targets: np.ndarray) -> None:
    for given, hint in (("godo:2", "did you mean 'good'?"), ("fraud:2", "the classes are bad, good, 5")):
        name = given.partition(":")[0]
        with pytest.raises(SettingsError) as caught:
            task.require_learnable(targets, NAMES, Settings(class_weights=given, metric_for_best_model="f1_macro"))
        assert str(caught.value) == f"class_weights has a weight for {name!r}, which is not a class of the data; {hint}"
