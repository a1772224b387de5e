"""Metrics of rows with any number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from text_classifier.evaluation import intervals
from text_classifier.evaluation.intervals import Ranking

#: Logits beyond it are no thresholds: as probabilities they cannot be told from 0 and 1.
STEEPEST = 15.0


def losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of each row, the mean over its labels, float64 [rows]."""
    return losses_of_labels(logits, targets).mean(axis=1)


def losses_of_labels(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of each label of each row, float64 [rows, labels]."""
    scores = logits.astype(np.float64)
    return np.logaddexp(0, scores) - scores * targets


def counts(predicted: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, support and predictions of each label."""
    true_positives, support, predicted = (
        part.sum(axis=0, dtype=np.int64) for part in (predicted & targets, targets, predicted)
    )
    return true_positives, support, predicted


def metrics(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Subset accuracy, and the micro and macro averages; both arguments uint8 [rows, labels]."""
    averages = from_counts(*counts(predicted, targets))
    exact = (predicted == targets).all(axis=1).mean()
    return {"exact_match": float(exact), **{name: float(value) for name, value in averages.items()}}


def from_counts(true_positives: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Micro and macro averages; the arguments are [..., labels]."""
    micro = intervals.per_class(*(counts.sum(axis=-1) for counts in (true_positives, support, predicted)))
    macro = (values.mean(axis=-1) for values in intervals.per_class(true_positives, support, predicted))
    names = "precision", "recall", "f1"
    return {
        **{f"{name}_micro": value for name, value in zip(names, micro, strict=True)},
        **{f"{name}_macro": value for name, value in zip(names, macro, strict=True)},
    }


def above(logits: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """1 where the probability of a label is above its threshold, uint8 [rows, labels]."""
    from scipy.special import logit

    return (logits > logit(np.asarray(thresholds, dtype=np.float64))).astype(np.uint8)


def fit_thresholds(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The threshold of each label with the highest F1 on these rows, a probability, float64 [labels].

    0.5 if no other has a higher F1, or no row has the label; of several, the one nearest to 0.5.
    """
    from scipy.special import expit

    best = (_best_cut(scores.astype(np.float64), has) for scores, has in zip(logits.T, targets.T, strict=True))
    thresholds: np.ndarray = expit(np.fromiter(best, dtype=np.float64, count=logits.shape[1]))
    return thresholds


def _best_cut(scores: np.ndarray, has: np.ndarray) -> float:
    """The logit above which a label should be predicted; both arguments are [rows]."""
    descending = np.argsort(-scores, kind="stable")
    ordered, found = scores[descending], np.cumsum(has[descending], dtype=np.int64)
    # Between two different scores; below all of them, every row is predicted.
    cuts = np.append((ordered[:-1] + ordered[1:]) / 2, ordered[-1] - 1)
    f1 = 2 * found / (np.arange(1, len(scores) + 1) + found[-1])
    possible = np.append(ordered[:-1] > ordered[1:], True) & (np.abs(cuts) < STEEPEST)
    at_half = intervals.ratio(2 * has[scores > 0].sum(dtype=np.int64), (scores > 0).sum() + found[-1])
    if not possible.any() or f1[possible].max() <= at_half:
        return 0.0
    best = possible & (f1 == f1[possible].max())
    return float(min(cuts[best], key=abs))


def rankings(logits: np.ndarray, targets: np.ndarray) -> list[dict[str, float]]:
    """ROC AUC and AUPRC of each label; NaN where no row or every row has it."""
    return [Ranking.of(scores, has == 1).metrics() for scores, has in zip(logits.T, targets.T, strict=True)]


def ranking_means(rankings: Sequence[dict[str, float]]) -> dict[str, float]:
    """Their means over the labels for which they are defined; empty if there is none."""
    known = [of_label for of_label in rankings if not np.isnan(of_label["roc_auc"])]
    return {f"{name}_macro": float(np.mean([one[name] for one in known])) for name in (known[0] if known else ())}
