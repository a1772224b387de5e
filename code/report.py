"""report.html: what a job has reached, in one file that opens from disk and reads without a background in statistics.

The page holds no script and loads nothing, and its own policy forbids both; whatever comes from the data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import artifact
import baselines
import calibration
import plots
from assessment import log_odds
from evaluation import Evaluated
from intervals import Ranking

#: Rows of the two tables of examples, and characters shown of a text.
EXAMPLES = 20
SHOWN_CHARACTERS = 300

#: Rows whose texts are counted without truncation.
ROWS_MEASURED = 2_000

#: Lines of a table of classes.
MOST_CLASSES = 50

#: What the page calls the metrics and the baselines.
WORDS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    **{
        f"{name}_{average}": f"{word} ({average})"
        for average in ("macro", "weighted")
        for name, word in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    },
    "matthews_correlation": "Matthews correlation",
    "log_loss": "Log loss",
    "roc_auc": "ROC AUC",
    "auprc": "AUPRC",
    baselines.MAJORITY: "Most frequent class",
    baselines.WORDS: "TF-IDF and logistic regression",
}


def write(path: Path, evaluated: Evaluated, metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Write the page from metrics.json's content, the manifest, and the rows that it shows."""
    counts = {
        name: np.bincount(split.classes, minlength=len(evaluated.classes)) for name, split in evaluated.splits.items()
    }
    lengths = _full_lengths(evaluated, manifest["hyperparameters"]["seed"])
    limit = manifest["hyperparameters"]["max_sequence_length"]
    page = artifact.page(
        "report.html.j2",
        metrics=metrics,
        manifest=manifest,
        best_baseline=max(metrics["baselines"], key=lambda entry: entry["accuracy"]),
        examples=examples(evaluated),
        plots=_plots(evaluated, metrics) | {"lengths": plots.lengths(lengths, limit)},
        measured_rows=len(lengths),
        truncated=float(np.mean(lengths > limit)),
        padding_to_limit=1 - float(np.mean(evaluated.splits["train"].tokens.lengths)) / limit,
        counts={name: values.tolist() for name, values in counts.items()},
        most_classes=MOST_CLASSES,
        words=WORDS,
    )
    path.write_text(page, encoding="utf-8")


def examples(evaluated: Evaluated) -> dict[str, list[dict[str, Any]]]:
    """Validation rows: `mistakes` that the model was surest of, and rows that it was `unsure` about, worst first."""
    logits, truth = evaluated.logits["validation"], evaluated.splits["validation"].classes
    probabilities = np.exp(calibration.log_probabilities(logits))
    said = logits.argmax(axis=1)
    wrong = np.flatnonzero(said != truth)
    best, second = np.sort(logits, axis=1)[:, -1], np.sort(logits, axis=1)[:, -2]
    chosen = {
        "mistakes": wrong[np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")][:EXAMPLES],
        "unsure": np.argsort(best - second, kind="stable")[:EXAMPLES],
    }
    return {
        kind: [
            {
                "text": text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …",
                "place": place,
                "label": evaluated.classes[truth[row]],
                "predicted": evaluated.classes[said[row]],
                "probability": float(probabilities[row].max()),
            }
            for row, text, place in zip(
                rows, evaluated.texts("validation", rows), evaluated.places("validation", rows), strict=True
            )
        ]
        for kind, rows in chosen.items()
    }


def _full_lengths(evaluated: Evaluated, seed: int) -> np.ndarray:
    """Tokens of a sample of the training rows, without truncation."""
    rows = len(evaluated.splits["train"])
    sample = np.random.default_rng((seed, 6)).choice(rows, size=min(rows, ROWS_MEASURED), replace=False)
    return evaluated.full_lengths("train", np.sort(sample))


def _plots(evaluated: Evaluated, metrics: Mapping[str, Any]) -> dict[str, str]:
    logits, truth = evaluated.logits["validation"], evaluated.splits["validation"].classes
    epochs, best = metrics["epochs"], metrics["best_epoch"]
    shown = [1] if len(evaluated.classes) == 2 else range(len(evaluated.classes))
    present = [index for index in shown if np.any(truth == index)]
    drawn = {
        "loss": plots.losses(metrics["loss_curve"], epochs, best),
        "quality": plots.curves(epochs, {"accuracy": "accuracy", "f1_macro": "F1 (macro)"}, "Validation", best),
        "confusion": plots.confusion(np.array(metrics["validation"]["confusion_matrix"]), evaluated.classes),
        "reliability": plots.reliability(metrics["validation"]["calibration"]),
    }
    if present:
        odds = log_odds(logits)
        rankings = {evaluated.classes[i]: Ranking.of(odds[:, i], truth == i) for i in present}
        drawn["precision_recall"] = plots.precision_recall(rankings)
    return drawn
