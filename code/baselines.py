"""What simpler means reach on the same rows: the most frequent class, and word counts with logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import intervals
from assessment import confusion_matrix

#: Rows that the word counts are fitted on, and rows that they are judged by; beyond, a seeded sample. With
#: LONGEST_TEXT that bounds the time to a few seconds.
MOST_ROWS = 10_000

#: Characters of a text that are counted: about twice what 128 tokens hold.
LONGEST_TEXT = 1_200

MAJORITY = "most frequent class"
WORDS = "TF-IDF and logistic regression"


def sample(rows: int, seed: int) -> np.ndarray:
    """Indices of the rows that take part, in their order, int64."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng((seed, 4)).choice(rows, size=MOST_ROWS, replace=False))


def majority(training: np.ndarray, rows: int) -> np.ndarray:
    """Always the most frequent training class, int64 [rows]."""
    return np.full(rows, np.bincount(training).argmax())


def words(texts: Sequence[str], classes: np.ndarray, evaluated: Sequence[str]) -> np.ndarray | None:
    """Fit single words and pairs of words on `texts`, and classify `evaluated`, int64 [rows].

    None when there is nothing to learn: the texts hold no words of two letters or more, or one class alone.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(classes)) < 2:
        return None
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=50_000, dtype=np.float32)
    shortened = [text[:LONGEST_TEXT] for text in texts]
    try:
        counts = vectorizer.fit_transform(shortened)
    except ValueError as error:
        if "vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 50 steps are within a hair of where it would end
        fitted = LogisticRegression(C=10, max_iter=50).fit(counts, classes)
    return fitted.predict(vectorizer.transform([text[:LONGEST_TEXT] for text in evaluated]))


def compare(
    name: str, said: np.ndarray, model: np.ndarray, classes: np.ndarray, count: int, trained_on: int, seed: int
) -> dict[str, Any]:
    """A baseline's metrics with intervals, and by how much the model is better on the very same rows, for JSON.

    said, model, classes: what the baseline and the model say, and the truth, int64 [rows]. `model_minus_baseline` is
    of accuracy, with a paired interval.
    """
    random = np.random.default_rng((seed, 5))
    confusion = confusion_matrix(classes, said, count)
    values = intervals.counted(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))
    found = intervals.of_counts(confusion, random)
    right, other = model == classes, said == classes
    return {
        "name": name,
        "rows": len(classes),
        "training_rows": trained_on,
        **{metric: float(value) for metric, value in values.items()},
        "intervals": {metric: list(interval) for metric, interval in found.items()},
        "model_minus_baseline": float(right.mean() - other.mean()),
        "model_minus_baseline_interval": list(intervals.of_difference(right, other, random)),
    }
