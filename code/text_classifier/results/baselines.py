"""What simpler means reach on the same rows: one answer for all, and word counts with a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from text_classifier.contract.schema import Baseline
from text_classifier.runtime.seeds import SeedStream
from text_classifier.tasks.base import Task

#: Rows that the word counts are fitted on, and rows that they are judged by; beyond, a seeded sample. With
#: LONGEST_TEXT that bounds the time to a few seconds.
MOST_ROWS = 10_000

#: Characters of a text that are counted: about twice what 128 tokens hold.
LONGEST_TEXT = 1_200


def sample(rows: int, seed: int) -> np.ndarray:
    """Indices of the rows that take part, in their order, int64."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng((seed, SeedStream.BASELINE_ROWS)).choice(rows, size=MOST_ROWS, replace=False))


def words(task: Task, texts: Sequence[str], targets: np.ndarray, evaluated: Sequence[str]) -> np.ndarray | None:
    """Fit single words and pairs of words on `texts`, and answer for `evaluated`, in the form of the targets.

    None when there is nothing to learn: the texts hold no words of two letters or more, or one class alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=50_000, dtype=np.float32)
    try:
        counts = vectorizer.fit_transform([text[:LONGEST_TEXT] for text in texts])
    except ValueError as error:
        if "vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise
    answer = task.fit(counts, targets)
    return None if answer is None else answer(vectorizer.transform([text[:LONGEST_TEXT] for text in evaluated]))


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
    """A baseline's metrics with intervals, and by how much the model is better on the very same rows, for JSON.

    predicted, model, targets: predictions of the baseline and of the model, and the truth, all in the form of the
    targets; `count` is the number of classes. `model_minus_baseline` is of the task's headline metric, with a paired
    interval.
    """
    random = np.random.default_rng((seed, SeedStream.BASELINE_INTERVALS))
    values, found = task.score(predicted, targets, count, random)
    difference, interval = task.difference(model, predicted, targets, random)
    entry = {
        "name": name,
        "rows": len(targets),
        "training_rows": trained_on,
        **values,
        "intervals": {metric: list(bounds) for metric, bounds in found.items()},
        "model_minus_baseline": difference,
        "model_minus_baseline_interval": list(interval),
    }
    return cast(Baseline, entry)
