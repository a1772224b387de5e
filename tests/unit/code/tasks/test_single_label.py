from __future__ import annotations

import math

import numpy as np
import pytest

from text_classifier.tasks.single_label import SingleLabel

measure = SingleLabel().measure


def test_two_classes_against_a_computation_by_hand() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(400, 2)).astype(np.float32)
    classes = (random.random(400) < 0.3).astype(np.int64)
    values = measure(logits, classes)

    margin = logits[:, 1].astype(float) - logits[:, 0]
    predicted = margin > 0
    assert values["accuracy"] == pytest.approx(np.mean(predicted == classes), abs=1e-12)
    precision, recall = [], []
    for positive in (0, 1):
        hits = np.sum((predicted == positive) & (classes == positive))
        precision.append(hits / np.sum(predicted == positive))
        recall.append(hits / np.sum(classes == positive))
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)]
    assert values["precision_macro"] == pytest.approx(np.mean(precision), abs=1e-12)
    assert values["recall_macro"] == pytest.approx(np.mean(recall), abs=1e-12)
    assert values["f1_macro"] == pytest.approx(np.mean(f1), abs=1e-12)
    # ROC AUC: how often a positive row scores above a negative one.
    above = margin[classes == 1][:, None] > margin[classes == 0][None, :]
    assert values["roc_auc"] == pytest.approx(above.mean(), abs=1e-12)
    # AUPRC: precision at each positive row, going down the scores.
    ranked = classes[np.argsort(-margin)]
    at_each = np.cumsum(ranked) / np.arange(1, 401)
    assert values["auprc"] == pytest.approx(at_each[ranked == 1].mean(), abs=1e-12)
    losses = [math.log1p(math.exp(-m if c else m)) for m, c in zip(margin, classes, strict=True)]
    assert values["loss"] == pytest.approx(np.mean(losses), abs=1e-9)


def test_three_classes_have_no_auc_and_a_class_without_rows_counts_zero() -> None:
    values = measure(np.eye(3, dtype=np.float32)[[0, 1, 1]], np.array([0, 1, 1]))
    assert "roc_auc" not in values and "auprc" not in values
    assert values["f1_macro"] == pytest.approx(2 / 3)


def test_one_class_in_the_rows_has_no_auc() -> None:
    assert "roc_auc" not in measure(np.zeros((3, 2), dtype=np.float32), np.zeros(3, dtype=np.int64))


def test_majority_is_that_of_the_training_rows() -> None:
    assert SingleLabel().constant(np.array([0, 1, 1]), 4).tolist() == [1] * 4
