"""Each metric against scikit-learn, or against a computation that shares nothing with ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from text_classifier.evaluation import calibration, intervals
from text_classifier.evaluation import single_label as assessment
from text_classifier.evaluation.intervals import Confusion, Ranking
from text_classifier.evaluation.single_label import log_odds
from text_classifier.evaluation.slices import by_slice
from text_classifier.tasks.single_label import SingleLabel

EXACT = 1e-9


def rows_of(classes: int, rows: int = 600, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that are right more often than not, many of them tied; classes; lengths."""
    random = np.random.default_rng(seed)
    truth = random.choice(classes, size=rows, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    logits = random.normal(size=(rows, classes)).round(1)
    logits[np.arange(rows), truth] += 1.1
    return logits.astype(np.float32), truth.astype(np.int64), random.integers(3, 129, rows)


def assessed(logits: np.ndarray, truth: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    names = [f"class {index}" for index in range(logits.shape[1])]
    found: Any = SingleLabel().assess(logits, truth, names, lengths, calibration.fit_temperature(logits, truth), seed=1)
    return found


@pytest.mark.parametrize("classes", [2, 5])
def test_each_metric_is_that_of_scikit_learn(classes: int) -> None:
    logits, truth, lengths = rows_of(classes)
    found = assessed(logits, truth, lengths)
    predicted = logits.argmax(axis=1)
    scores = logits.astype(float)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wanted = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "matthews_correlation": reference.matthews_corrcoef(truth, predicted),
        "log_loss": reference.log_loss(truth, probabilities),
    }
    for average in ("macro", "weighted"):
        three = reference.precision_recall_fscore_support(truth, predicted, average=average)[:3]
        wanted |= {f"{name}_{average}": v for name, v in zip(("precision", "recall", "f1"), three, strict=True)}
    if classes == 2:
        margin = scores[:, 1] - scores[:, 0]
        wanted |= {
            "roc_auc": reference.roc_auc_score(truth, margin),
            "auprc": reference.average_precision_score(truth, margin),
        }
    assert {name: found[name] for name in found["intervals"]} == pytest.approx(wanted, abs=EXACT)
    assert found["confusion_matrix"] == reference.confusion_matrix(truth, predicted).tolist()
    table = reference.precision_recall_fscore_support(truth, predicted)
    for index, entry in enumerate(found["per_class"]):
        assert [entry[name] for name in ("precision", "recall", "f1", "rows")] == pytest.approx(
            [column[index] for column in table], abs=EXACT
        )
        odds = np.log(probabilities[:, index]) - np.log1p(-probabilities[:, index])
        assert entry["roc_auc"] == pytest.approx(reference.roc_auc_score(truth == index, odds.round(9)), abs=EXACT)
        assert entry["auprc"] == pytest.approx(
            reference.average_precision_score(truth == index, odds.round(9)), abs=EXACT
        )


def test_the_log_of_an_epoch_and_the_assessment_agree() -> None:
    logits, truth, lengths = rows_of(2)
    found = assessed(logits, truth, lengths)
    epoch = SingleLabel().measure(logits, truth)
    assert found["log_loss"] == pytest.approx(epoch.pop("loss"), abs=EXACT)
    assert {name: found[name] for name in epoch} == pytest.approx(epoch, abs=EXACT)


def test_a_class_without_rows_and_a_class_never_predicted() -> None:
    logits = np.array([[3, 0, 0], [3, 0, 0], [0, 3, 0]], dtype=np.float32)
    found = assessed(logits, np.array([0, 1, 1]), np.array([3, 4, 5]))
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["recall_macro"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert found["matthews_correlation"] == pytest.approx(reference.matthews_corrcoef([0, 1, 1], [0, 0, 1]), abs=EXACT)
    assert math.isnan(found["per_class"][2]["roc_auc"])


@pytest.mark.parametrize("truth", [0, 1])
def test_one_row_is_enough(truth: int) -> None:
    found = assessed(np.array([[2, 1]], dtype=np.float32), np.array([truth]), np.array([3]))
    assert (found["rows"], found["accuracy"], found["intervals"]["accuracy"]) == (1, 1.0 - truth, [1.0 - truth] * 2)


def test_one_class_in_the_rows_has_no_ranking() -> None:
    logits = np.array([[0, 1], [1, 0]], dtype=np.float32)
    found = assessed(logits, np.array([1, 1]), np.array([3, 3]))
    assert "roc_auc" not in found and found["thresholds"] == []


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_log_odds_of_each_class_against_all_others(classes: int) -> None:
    logits = np.random.default_rng(4).normal(scale=20, size=(50, classes)).astype(np.float32)
    found = log_odds(logits)
    for row, column in np.ndindex(*logits.shape):
        others = np.delete(logits[row].astype(float), column)
        assert found[row, column] == pytest.approx(logits[row, column] - np.logaddexp.reduce(others), abs=1e-9)


def test_a_resample_has_the_metrics_of_its_rows() -> None:
    logits, truth, _ = rows_of(2)
    margin = logits[:, 1].astype(float) - logits[:, 0]
    times = np.random.default_rng(5).multinomial(600, np.full(600, 1 / 600))
    drawn = np.repeat(np.arange(600), times)
    found = Ranking.of(margin, truth == 1).metrics(times)
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(truth[drawn], margin[drawn]), abs=EXACT)
    assert found["auprc"] == pytest.approx(reference.average_precision_score(truth[drawn], margin[drawn]), abs=EXACT)


def test_intervals_are_those_of_resampled_rows() -> None:
    """Against a bootstrap that draws rows and asks scikit-learn, within the noise of 1,000 resamples."""
    logits, truth, lengths = rows_of(2)
    found = assessed(logits, truth, lengths)["intervals"]
    margin = logits[:, 1].astype(float) - logits[:, 0]
    random = np.random.default_rng(6)
    drawn: dict[str, list[float]] = {"f1_macro": [], "roc_auc": [], "log_loss": []}
    losses = np.logaddexp(0, np.where(truth == 1, -margin, margin))
    for _ in range(300):
        rows = random.integers(0, len(truth), len(truth))
        drawn["f1_macro"].append(reference.f1_score(truth[rows], margin[rows] > 0, average="macro"))
        drawn["roc_auc"].append(reference.roc_auc_score(truth[rows], margin[rows]))
        drawn["log_loss"].append(losses[rows].mean())
    for name, values in drawn.items():
        low, high = np.percentile(values, (2.5, 97.5))
        assert found[name] == pytest.approx([low, high], abs=0.25 * (high - low))


@pytest.mark.parametrize(("accuracy", "rows"), [(0.8, 400), (0.93, 1000)])
def test_the_interval_holds_the_true_accuracy_in_95_of_100_runs(accuracy: float, rows: int) -> None:
    random = np.random.default_rng(11)
    held = 0
    for hits in random.binomial(rows, accuracy, size=1000):
        half = hits // 2
        counts = np.array([half, (rows - hits) // 2, rows - hits - (rows - hits) // 2, hits - half])
        confusion = Confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), counts, 2)
        low, high = intervals.of_counts(confusion, random)["accuracy"]
        held += low <= accuracy <= high
    assert 930 <= held <= 970


def test_the_difference_of_two_models_on_the_same_rows() -> None:
    random = np.random.default_rng(8)
    right = random.random(500) < 0.9
    other = right & (random.random(500) < 0.9)
    low, high = intervals.of_difference(right, other, random)
    assert low < right.mean() - other.mean() < high
    assert high - low < 0.06  # two independent samples would give 0.09
    assert intervals.of_difference(right, right, random) == (0.0, 0.0)


def test_the_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(9)
    logits = random.normal(scale=2, size=(20_000, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (probabilities.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    overconfident = (2.5 * logits).astype(np.float32)
    temperature = calibration.fit_temperature(overconfident, truth)
    assert temperature == pytest.approx(2.5, rel=0.03)
    around = [calibration.losses(overconfident, truth, temperature * by).mean() for by in (0.99, 1, 1.01)]
    assert min(around) == around[1]
    names, random = ["a", "b", "c"], np.random.default_rng(1)
    found = assessment.details(overconfident, truth, names, temperature, random)[2]["calibration"]
    assert found["error"] > 0.1 > 0.02 > found["error_at_temperature"]


def test_the_temperature_is_left_alone_when_all_is_right() -> None:
    assert calibration.fit_temperature(np.eye(3, dtype=np.float32), np.arange(3)) == 1.0


def test_calibration_error_row_by_row() -> None:
    random = np.random.default_rng(10)
    confidence = random.uniform(0.5, 1, 500)
    truth = (random.random(500) > confidence * 0.8).astype(np.int64)
    bins = calibration.reliability(confidence, truth == 0)
    error = 0.0
    for index in range(15):
        inside = [r for r in range(500) if index / 15 < confidence[r] <= (index + 1) / 15]
        if inside:
            error += abs(sum(confidence[r] for r in inside) - sum(truth[r] == 0 for r in inside)) / 500
    assert calibration.calibration_error(bins) == pytest.approx(error, abs=EXACT)


def test_thresholds_give_what_was_wanted() -> None:
    logits, truth, lengths = rows_of(2)
    found = assessed(logits, truth, lengths)
    margin = logits[:, 1].astype(float) - logits[:, 0]
    probability = 1 / (1 + np.exp(-margin))
    for entry in found["thresholds"]:
        predicted = probability >= entry["threshold"] - 1e-12
        precision, recall = reference.precision_score(truth, predicted), reference.recall_score(truth, predicted)
        assert (entry["precision"], entry["recall"]) == pytest.approx((precision, recall), abs=EXACT)
        assert entry[entry["wanted"]] >= entry["at_least"]
        other = "recall" if entry["wanted"] == "precision" else "precision"
        for threshold in np.unique(probability):
            predicted = probability >= threshold
            hits = np.sum(predicted & (truth == 1))
            both = {"precision": hits / predicted.sum(), "recall": hits / truth.sum()}
            assert both[entry["wanted"]] < entry["at_least"] or both[other] <= entry[other] + EXACT


def test_a_precision_that_no_threshold_reaches_is_said_so() -> None:
    logits = np.array([[0, 3], [0, 2], [0, 1]], dtype=np.float32)
    found = assessed(logits, np.array([0, 1, 0]), np.array([3, 3, 3]))["thresholds"]
    assert [entry["threshold"] is None for entry in found] == [True] * 4 + [False] * 4


def test_slices_by_length_share_out_the_rows() -> None:
    logits, truth, lengths = rows_of(2)
    slices = assessed(logits, truth, lengths)["by_length"]
    assert len(slices) == 4 and sum(entry["rows"] for entry in slices) == 600
    for entry, after in zip(slices, [*slices[1:], None], strict=True):
        low, high = entry["tokens"]
        rows = (lengths >= low) & (lengths <= high)
        assert entry["rows"] == rows.sum()
        assert entry["accuracy"] == pytest.approx(np.mean(logits[rows].argmax(axis=1) == truth[rows]), abs=EXACT)
        assert after is None or high < after["tokens"][0]
    assert len(assessed(logits, truth, np.full(600, 7))["by_length"]) == 1


def test_slices_by_a_column_are_the_large_ones_and_the_others_together() -> None:
    logits, truth, _ = rows_of(2)
    predicted, random = logits.argmax(axis=1), np.random.default_rng(1)
    names = [f"value {index}" for index in range(31)]
    slice_of = np.repeat(np.arange(31), [40, *[1] * 4, *[22] * 25, 6])
    *large, others = by_slice(
        slice_of, names, lambda rows: assessment.score(predicted[rows], truth[rows], 2, random), SingleLabel.sliced
    )
    assert [entry["rows"] for entry in large] == [40] + [22] * 19
    assert large[0]["value"] == "value 0" and large[1]["value"] == "value 5"
    assert (others["value"], others["slices"], others["rows"]) == (None, 11, 600 - 40 - 19 * 22)
    for entry in large:
        rows = slice_of == names.index(entry["value"])
        assert entry["accuracy"] == pytest.approx(np.mean(logits[rows].argmax(axis=1) == truth[rows]), abs=EXACT)
        assert entry["intervals"]["accuracy"][0] <= entry["accuracy"] <= entry["intervals"]["accuracy"][1]


def test_the_confusion_matrix_has_a_row_for_each_true_class() -> None:
    confusion = Confusion.of(np.array([0, 0, 2]), np.array([0, 1, 1]), 3)
    assert confusion.matrix().tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert [counts.tolist() for counts in confusion.counts()] == [[1, 0, 0], [2, 0, 1], [1, 2, 0]]
    assert confusion.mistakes(1).true.tolist() == [0] and len(confusion.mistakes(9).rows) == 2
