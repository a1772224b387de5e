"""report.html: the results of a job in one file, for readers without a background in statistics.

The page has no script and loads nothing, its content security policy forbids both, and text from the data is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from text_classifier.contract.metric_names import ERRORS
from text_classifier.contract.schema import Baseline, Manifest, Metrics
from text_classifier.results import artifact, plots
from text_classifier.results.answers import answers
from text_classifier.results.evaluated import Evaluated
from text_classifier.runtime.seeds import SeedStream

#: Rows of a table of examples, and characters shown of each text.
EXAMPLES = 20
SHOWN_CHARACTERS = 300

#: Training rows whose length before truncation is measured.
ROWS_MEASURED = 2_000

#: Rows of a table of classes.
MOST_CLASSES = 50

#: Titles of the metrics, in the order of the table.
METRIC_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    **{
        f"{name}_{average}": f"{title} ({average})"
        for average in ("macro", "weighted")
        for name, title in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    },
    "exact_match": "Exact match (subset accuracy)",
    **{
        f"{name}_micro": f"{title} (micro)"
        for name, title in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    },
    "matthews_correlation": "Matthews correlation",
    "log_loss": "Log loss",
    "roc_auc": "ROC AUC",
    "auprc": "AUPRC",
    "roc_auc_macro": "ROC AUC (macro)",
    "auprc_macro": "AUPRC (macro)",
    "mae": "Mean absolute error",
    "mse": "Mean squared error",
    "rmse": "Root mean squared error",
    "r2": "Coefficient of determination (R²)",
    "spearman": "Spearman correlation",
}

#: Explanation of the number at the top of the page, by headline metric.
HEADLINES = {
    "accuracy": "of the %s texts are classified correctly",
    "f1_micro": "is the micro F1 of the %s texts; 100 %% means that every label is predicted and none is wrong",
    "mae": "is the mean absolute error on the %s texts",
}


def write(path: Path, evaluated: Evaluated, metrics: Metrics, manifest: Manifest) -> None:
    """Write the page."""
    task, headline, shown = evaluated.task, evaluated.task.headline, answers(evaluated.task)
    logits, targets = evaluated.logits["validation"], evaluated.rows["validation"].targets
    lengths = _full_lengths(evaluated, manifest["hyperparameters"]["seed"])
    limit = manifest["hyperparameters"]["max_sequence_length"]
    drawn = {
        "loss": plots.losses(metrics),
        "lengths": plots.lengths(lengths, limit),
    }
    page = artifact.page(
        "report.html.j2",
        metrics=metrics,
        manifest=manifest,
        headline=headline,
        sliced=task.sliced,
        headline_sentence=HEADLINES[headline],
        title=shown.title(evaluated.classes),
        gain=_gain(metrics["baselines"], headline),
        examples=examples(evaluated),
        plots=drawn | shown.plots(logits, targets, evaluated.classes, metrics),
        measured_rows=len(lengths),
        truncated=float(np.mean(lengths > limit)),
        padding_to_limit=1 - float(np.mean(evaluated.lengths["train"])) / limit,
        labels=[task.describe(rows.targets, evaluated.classes) for rows in evaluated.rows.values()],
        splits=list(evaluated.rows),
        most_classes=MOST_CLASSES,
        metric_titles=METRIC_TITLES,
    )
    path.write_text(page, encoding="utf-8", errors=artifact.SURROGATES)


def _gain(baselines: Sequence[Baseline], headline: str) -> dict[str, float]:
    """The model's lead over the best baseline, with its interval; positive means better, also for errors."""
    sign = -1 if headline in ERRORS else 1
    best = max(baselines, key=lambda entry: sign * cast(Any, entry)[headline])
    low, high = sorted(sign * end for end in best["model_minus_baseline_interval"])
    return {"value": sign * best["model_minus_baseline"], "low": low, "high": high}


def examples(evaluated: Evaluated) -> list[dict[str, Any]]:
    """The first `EXAMPLES` rows of each table of examples of the task."""
    shown = answers(evaluated.task)
    logits, truth = evaluated.logits["validation"], evaluated.rows["validation"].targets
    column, confidence = shown.confidence(logits, truth, evaluated.classes)
    return [
        {
            "heading": heading,
            "explanation": explanation,
            "column": column,
            "rows": _example_rows(evaluated, rows[:EXAMPLES], confidence),
        }
        for heading, explanation, rows in shown.examples(logits, truth)
    ]


def _example_rows(evaluated: Evaluated, rows: np.ndarray, confidence: Sequence[str]) -> list[dict[str, str]]:
    shown, classes = answers(evaluated.task), evaluated.classes
    predicted, some = evaluated.task.predict(evaluated.logits["validation"]), evaluated.rows["validation"].take(rows)
    return [
        {
            "text": text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …",
            "place": place if some.ids is None else f"{some.ids[index]} ({place})",
            "label": shown.label(target, classes),
            "predicted": shown.label(predicted[row], classes),
            "confidence": confidence[row],
        }
        for index, (row, text, place, target) in enumerate(
            zip(rows, some.texts, some.places, some.targets, strict=True)
        )
    ]


def _full_lengths(evaluated: Evaluated, seed: int) -> np.ndarray:
    """Tokens of a sample of the training rows before truncation, int64."""
    rows = evaluated.rows["train"]
    sample = np.random.default_rng((seed, SeedStream.LENGTH_SAMPLE)).choice(
        len(rows), size=min(len(rows), ROWS_MEASURED), replace=False
    )
    return evaluated.full_lengths(rows.take(np.sort(sample)).texts[:])
