from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from text_classifier.evaluation.multi_label import above, fit_thresholds


def test_no_other_threshold_has_a_higher_f1() -> None:
    random = np.random.default_rng(2)
    targets = (random.random((200, 6)) < [0.02, 0.1, 0.3, 0.5, 0.9, 0.2]).astype(np.uint8)
    logits = (random.normal(size=targets.shape) + targets - [4, 2, 1, 0, -1, 0]).round(1).astype(np.float32)
    thresholds = fit_thresholds(logits, targets)
    found = f1_score(targets, above(logits, thresholds.tolist()), average=None, zero_division=0)
    for label in range(6):
        cuts = np.unique(logits[:, label])
        tried = [f1_score(targets[:, label], logits[:, label] > cut, zero_division=0) for cut in [-99, 0, *cuts]]
        assert found[label] == pytest.approx(max(tried), abs=1e-12)
    assert thresholds[0] < 0.2 and (found >= f1_score(targets, logits > 0, average=None, zero_division=0)).all()


def test_it_stays_at_one_half_without_a_reason_to_move() -> None:
    logits = np.array([[3, -2, 5, 1], [2, -3, 5, 1], [-3, -4, 5, 1]], dtype=np.float32)
    perfect, without_rows, on_all, tied = np.array([1, 1, 0]), np.zeros(3), np.ones(3), np.array([1, 1, 0])
    targets = np.stack([perfect, without_rows, on_all, tied], axis=1).astype(np.uint8)
    assert fit_thresholds(logits, targets).tolist() == [0.5, 0.5, 0.5, 0.5]


def test_of_equal_ones_the_nearest_to_one_half_is_taken_and_a_certain_logit_is_none() -> None:
    logits = np.array([[-2.0, 40], [-4.0, 40], [-4.5, 30], [-9.0, 20]], dtype=np.float32)
    targets = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], dtype=np.uint8)
    # Predicting one row: 2/3; predicting three: 4/5.
    low, high = fit_thresholds(logits, targets)
    assert low == pytest.approx(1 / (1 + np.exp(6.75)))
    assert 0 < high < 1
    assert above(np.zeros((1, 2), dtype=np.float32), [0.5, 0.4]).tolist() == [[0, 1]]
