"""Baselines on the same rows: a constant prediction, and TF-IDF features with a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from text_classifier.contract.schema import Baseline
from text_classifier.runtime.seeds import SeedStream
from text_classifier.tasks.base import Task

#: Training and validation rows that are used; of more rows, a seeded sample. Together with LONGEST_TEXT it bounds
#: the time to a few seconds.
MOST_ROWS = 10_000

#: Characters of a text that are used: about twice as many as 128 tokens hold.
LONGEST_TEXT = 1_200


def sample(rows: int, seed: int) -> np.ndarray:
    """Indices of the rows that are used, ascending, int64."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng((seed, SeedStream.BASELINE_ROWS)).choice(rows, size=MOST_ROWS, replace=False))


def tfidf(task: Task, texts: Sequence[str], targets: np.ndarray, evaluated: Sequence[str]) -> np.ndarray | None:
    """Fit a linear model on the TF-IDF of words and pairs of words in `texts`. Returns predictions for `evaluated`.

    None if there is nothing to learn: no words of two letters or more, or a single class.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=50_000, dtype=np.float32)
    try:
        features = vectorizer.fit_transform([text[:LONGEST_TEXT] for text in texts])
    except ValueError as error:
        if "vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise
    predict = task.fit(features, targets)
    return None if predict is None else predict(vectorizer.transform([text[:LONGEST_TEXT] for text in evaluated]))


def compare(
    task: Task,
    name: str,
    predicted: np.ndarray,
    model: np.ndarray,
    targets: np.ndarray,
    count: int,
    trained_on: int,
    seed: int,
) -> Baseline:
    """A baseline's metrics with intervals, and the model's lead in the headline metric with a paired interval.

    predicted, model, targets: predictions of the baseline, predictions of the model, and true labels of the same rows,
    all in the form of the task's targets; `count` is the number of classes.
    """
    random = np.random.default_rng((seed, SeedStream.BASELINE_INTERVALS))
    values, intervals = task.score(predicted, targets, count, random)
    difference, interval = task.difference(model, predicted, targets, random)
    entry = {
        "name": name,
        "rows": len(targets),
        "training_rows": trained_on,
        **values,
        "intervals": {metric: list(bounds) for metric, bounds in intervals.items()},
        "model_minus_baseline": difference,
        "model_minus_baseline_interval": list(interval),
    }
    return cast(Baseline, entry)
