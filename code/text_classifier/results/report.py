"""report.html: what a job has reached, in one file that opens from disk and reads without a background in statistics.

The page holds no script and loads nothing, and its own policy forbids both; whatever comes from the data is escaped.
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

#: Rows of the tables of examples, and characters shown of a text.
EXAMPLES = 20
SHOWN_CHARACTERS = 300

#: Rows whose texts are counted without truncation.
ROWS_MEASURED = 2_000

#: Lines of a table of classes.
MOST_CLASSES = 50

#: What the page calls the metrics.
WORDS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    **{
        f"{name}_{average}": f"{word} ({average})"
        for average in ("macro", "weighted")
        for name, word in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    },
    "exact_match": "All labels right",
    **{
        f"{name}_micro": f"{word} (micro)"
        for name, word in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
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
    "r2": "Share of the variance explained (R²)",
    "spearman": "Spearman correlation",
}

#: What the number at the head of the page is, by the task's headline metric.
HEADLINES = {
    "accuracy": "of the %s texts are put into the right class",
    "f1_micro": "is the F1 of the labels of the %s texts: 100 %% is every label found and none wrong",
    "mae": "is how far off it is with a %s text, on average",
}


def write(path: Path, evaluated: Evaluated, metrics: Metrics, manifest: Manifest) -> None:
    """Write the page from metrics.json's content, the manifest, and the rows that it shows."""
    task, headline, shown = evaluated.task, evaluated.task.headline, answers(evaluated.task)
    logits, targets = evaluated.logits["validation"], evaluated.rows["validation"].targets
    lengths = _full_lengths(evaluated, manifest["hyperparameters"]["seed"])
    limit = manifest["hyperparameters"]["max_sequence_length"]
    drawn = {
        "loss": plots.losses(metrics["loss_curve"], metrics["epochs"], metrics["best_epoch"]),
        "lengths": plots.lengths(lengths, limit),
    }
    page = artifact.page(
        "report.html.j2",
        metrics=metrics,
        manifest=manifest,
        headline=headline,
        sliced=task.sliced,
        headline_words=HEADLINES[headline],
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
        words=WORDS,
    )
    path.write_text(page, encoding="utf-8")


def _gain(baselines: Sequence[Baseline], headline: str) -> dict[str, float]:
    """By how much the model is better than the best baseline, and from where to where that may be."""
    sign = -1 if headline in ERRORS else 1
    best = max(baselines, key=lambda entry: sign * cast(Any, entry)[headline])
    low, high = sorted(sign * end for end in best["model_minus_baseline_interval"])
    return {"value": sign * best["model_minus_baseline"], "low": low, "high": high}


def examples(evaluated: Evaluated) -> list[dict[str, Any]]:
    """Tables of validation rows, as the task chooses them, the first `EXAMPLES` of each."""
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
            "place": place,
            "label": shown.label(target, classes),
            "predicted": shown.label(predicted[row], classes),
            "confidence": confidence[row],
        }
        for row, text, place, target in zip(rows, some.texts, some.places, some.targets, strict=True)
    ]


def _full_lengths(evaluated: Evaluated, seed: int) -> np.ndarray:
    """Tokens of a sample of the training rows, without truncation."""
    rows = evaluated.rows["train"]
    sample = np.random.default_rng((seed, SeedStream.LENGTH_SAMPLE)).choice(
        len(rows), size=min(len(rows), ROWS_MEASURED), replace=False
    )
    return evaluated.full_lengths(rows.take(np.sort(sample)).texts[:])
