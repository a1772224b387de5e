"""report.html: the results of a job in one file, for readers without a background in statistics.

The page has no script and loads nothing, its content security policy forbids both, and text from the data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.metric_names import ERRORS
from text_classifier.contract.schema import Baseline, Manifest, Metrics
from text_classifier.dataset import data_report
from text_classifier.evaluation import calibration
from text_classifier.evaluation.intervals import Confusion
from text_classifier.reading.pairs import readable
from text_classifier.reading.rows import Rows
from text_classifier.results import artifact, origin, plots
from text_classifier.results.answers import answers
from text_classifier.results.evaluated import Evaluated
from text_classifier.results.label_issues import Issue
from text_classifier.runtime.seeds import SeedStream
from text_classifier.tasks.single_label import SingleLabel

#: Rows of a table of examples, and characters shown of each text.
EXAMPLES = 20
SHOWN_CHARACTERS = 300

#: Pairs of classes that are confused, and examples of each.
MOST_PAIRS = 10
PAIR_EXAMPLES = 3

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


def write(path: Path, evaluated: Evaluated, metrics: Metrics, manifest: Manifest, issues: Sequence[Issue]) -> None:
    """Write the page."""
    task, headline, shown = evaluated.task, evaluated.task.headline, answers(evaluated.task)
    logits, targets = evaluated.logits["validation"], evaluated.rows["validation"].targets
    lengths = _full_lengths(evaluated, manifest["hyperparameters"]["seed"])
    limit = manifest["hyperparameters"]["max_sequence_length"]
    drawn = {
        "loss": plots.losses(metrics),
        "lengths": plots.lengths(lengths, limit, is_truncated=not evaluated.windows),
    }
    page = artifact.page(
        "report.html.j2",
        metrics=metrics,
        manifest=manifest,
        run_line=origin.line(manifest),
        headline=headline,
        sliced=task.sliced,
        is_truncated=not evaluated.windows,
        read_tokens=artifact.read_tokens(manifest),
        long_texts=[(name, found) for name in evaluated.logits if (found := metrics[name].get("long_texts"))],
        headline_sentence=HEADLINES[headline],
        title=shown.title(evaluated.classes),
        gain=_gain(metrics["baselines"], headline),
        pairs=confused_pairs(evaluated),
        is_matrix_beside=len(evaluated.classes) <= plots.MOST_CLASSES_BESIDE,
        issues=issue_rows(evaluated, issues[:EXAMPLES]),
        issues_count=len(issues),
        issues_column=" · ".join(shown.doubt_columns).replace("_", " ").capitalize(),
        are_training_rows_judged=evaluated.training_logits is not None,
        is_cross_validated=evaluated.is_cross_validated,
        least_certain=least_certain(evaluated),
        changed_loss=_changed_loss(manifest["hyperparameters"]),
        plots=drawn | shown.plots(logits, targets, evaluated.classes, metrics),
        epochs_at_best=artifact.epochs_at_best(metrics),
        measured_rows=len(lengths),
        truncated=float(np.mean(lengths > limit)),
        padding_to_limit=1 - float(np.mean(evaluated.lengths["train"])) / limit,
        labels=[task.describe(rows.targets, evaluated.classes) for rows in evaluated.rows.values()],
        few_rows=data_report.FEW_ROWS,
        splits=list(evaluated.rows),
        most_classes=MOST_CLASSES,
        metric_titles=METRIC_TITLES,
    )
    path.write_text(page, encoding="utf-8", errors=artifact.SURROGATES)


def _changed_loss(settings: Mapping[str, Any]) -> list[str]:
    """The settings that make the training loss another one than the validation loss."""
    default = asdict(Settings())
    return [
        f"{name}={settings[name]}"
        for name in ("class_weights", "label_smoothing", "focal_gamma")
        if settings[name] != default[name]
    ]


def _gain(baselines: Sequence[Baseline], headline: str) -> dict[str, float]:
    """The model's lead over the best baseline, with its interval; positive means better, also for errors."""
    sign = -1 if headline in ERRORS else 1
    best = max(baselines, key=lambda entry: sign * cast(Any, entry)[headline])
    low, high = sorted(sign * end for end in best["model_minus_baseline_interval"])
    return {"value": sign * best["model_minus_baseline"], "low": low, "high": high}


def confused_pairs(evaluated: Evaluated) -> list[dict[str, Any]]:
    """The pairs of classes with the most mistakes on the validation rows, each with its most confident ones."""
    logits, rows = evaluated.logits["validation"], evaluated.rows["validation"]
    if not isinstance(evaluated.task, SingleLabel):
        return []
    predicted, confidence = evaluated.task.predict(logits), calibration.confidences(logits)
    cells = Confusion.of(rows.targets, predicted, len(evaluated.classes)).mistakes(MOST_PAIRS)
    pairs = []
    for label, guess, count in zip(cells.true, cells.predicted, cells.rows, strict=True):
        found = np.flatnonzero((rows.targets == label) & (predicted == guess))
        best = found[np.argsort(-confidence[found], kind="stable")][:PAIR_EXAMPLES]
        pairs.append(
            {
                "label": evaluated.classes[label],
                "predicted": evaluated.classes[guess],
                "rows": int(count),
                "share": count / np.sum(rows.targets == label),
                "examples": [_text_of(rows, row) for row in best.tolist()],
            }
        )
    return pairs


def issue_rows(evaluated: Evaluated, issues: Sequence[Issue]) -> list[dict[str, str]]:
    """The rows of the table of label issues."""
    return [
        {
            **_text_of(evaluated.rows[issue.split], issue.row, issue.basis),
            "label": issue.label,
            "predicted": issue.predicted,
            "last": " · ".join(issue.doubt),
        }
        for issue in issues
    ]


def least_certain(evaluated: Evaluated) -> dict[str, Any] | None:
    """The table of the least certain predictions, if the task knows certainty."""
    shown, classes = answers(evaluated.task), evaluated.classes
    logits, rows = evaluated.logits["validation"], evaluated.rows["validation"]
    found = shown.least_certain(logits, classes)
    if found is None:
        return None
    predicted = evaluated.task.predict(logits)
    table = [
        {
            **_text_of(rows, row),
            "label": shown.label(rows.targets[row], classes),
            "predicted": shown.label(predicted[row], classes),
            "last": found.cells[row],
        }
        for row in found.rows[:EXAMPLES].tolist()
    ]
    return {"explanation": found.explanation, "column": found.column, "rows": table}


def _text_of(rows: Rows, row: int, note: str = "") -> dict[str, str]:
    """The shown part of a row's text, and where it is from."""
    text, place = readable(rows.texts[row]), rows.places[row] + (f", {note}" if note else "")
    return {
        "text": text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …",
        "place": place if rows.ids is None else f"{rows.ids[row]} ({place})",
    }


def _full_lengths(evaluated: Evaluated, seed: int) -> np.ndarray:
    """Tokens of a sample of the training rows before truncation, int64."""
    rows = evaluated.rows["train"]
    sample = np.random.default_rng((seed, SeedStream.LENGTH_SAMPLE)).choice(
        len(rows), size=min(len(rows), ROWS_MEASURED), replace=False
    )
    return evaluated.full_lengths(rows.take(np.sort(sample)).texts[:])
