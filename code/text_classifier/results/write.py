"""Writes metrics.json, the model card, predictions, event files and the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from text_classifier.contract import schema
from text_classifier.contract.errors import print_traceback
from text_classifier.contract.metric_names import without_metrics
from text_classifier.contract.schema import (
    AtThresholds,
    Baseline,
    ColumnSlice,
    LossCurve,
    Manifest,
    Metrics,
    Scores,
    SplitMetrics,
    Throughput,
)
from text_classifier.contract.tables import LABEL_ISSUES
from text_classifier.evaluation.slices import by_slice
from text_classifier.evaluation.temperature import Temperature
from text_classifier.results import artifact, baselines, label_issues, long_texts
from text_classifier.results.answers import answers
from text_classifier.results.cautions import cautions
from text_classifier.results.cells import row_writer
from text_classifier.results.evaluated import Evaluated, Measured
from text_classifier.results.label_issues import Issue
from text_classifier.runtime.seeds import SeedStream
from text_classifier.tasks.base import Task
from text_classifier.training.cross_validation import CrossValidation
from text_classifier.training.state import Training


@dataclass
class Results:
    """The input of the parts of a report."""

    model: Path  #: the model directory
    output: Path  #: the directory of metrics.json and the report
    evaluated: Evaluated
    metrics: Metrics  #: at first those of the epochs; the stages add theirs
    manifest: Manifest
    issues: Sequence[Issue] = ()  #: labels that the model doubts

    @property
    def seed(self) -> int:
        return int(self.manifest["hyperparameters"]["seed"])

    def add_cross_validation(self, found: CrossValidation) -> None:
        """Add the metrics of the folds; their models, which have not learned a training row, judge its label."""
        self.metrics["cross_validation"] = found.summary()
        self.evaluated = replace(self.evaluated, training_logits=found.logits, is_cross_validated=True)
        self.write_metrics()

    def write_metrics(self) -> None:
        """Write metrics.json and the model card with what is known so far.

        A card that cannot be made does not end the job; one that cannot be written does, like any other file.
        """
        artifact.write_json(self.output / schema.METRICS, self.metrics)
        try:
            artifact.write_card(self.model / "README.md", self.metrics, self.manifest)
        except OSError:
            raise
        except Exception:
            print_traceback()
            print("WARNING: the model card could not be made (see above); the model was saved", flush=True)

    def measure_split(self, name: Measured) -> None:
        """Add the metrics of a split."""
        measured = measure(self.evaluated, name, self.seed)
        if thresholds := self.manifest.get("thresholds"):
            measured["at_fitted_thresholds"] = _at_thresholds(self.evaluated, name, thresholds, self.seed)
        self.metrics[name] = measured
        self.write_metrics()

    def measure_baselines(self) -> None:
        """Add the metrics of the baselines, and print the warnings that follow from them."""
        self.metrics["baselines"] = _baselines(self.evaluated, self.seed)
        if found := cautions(self.evaluated.task, self.metrics):
            self.metrics["warnings"] = found
            print("\n".join(f"WARNING: {without_metrics(sentence)}" for sentence in found), flush=True)
        self.write_metrics()

    def write_predictions(self) -> None:
        """Write the predictions of each evaluated split, and the curves for TensorBoard."""
        for name in self.evaluated.logits:
            _write_predictions(self.output / f"predictions_{name}.csv", name, self.evaluated)
        _write_events(self.output / "tensorboard", self.metrics)

    def write_label_issues(self) -> None:
        """Write label_issues.csv."""
        path = self.output / LABEL_ISSUES
        self.issues = label_issues.find(self.evaluated)
        label_issues.write(path, self.evaluated, self.issues, artifact.SURROGATES)

    def write_report(self) -> None:
        """Write report.html."""
        from text_classifier.results import report  # matplotlib comes with it

        report.write(self.output / "report.html", self.evaluated, self.metrics, self.manifest, self.issues)


def of_training(trained: Training, task: Task, classes: Sequence[str], rows: Mapping[str, int]) -> Metrics:
    """The part of metrics.json that training has measured. `rows`: of each split."""
    metrics: Metrics = {
        "schema_version": schema.SCHEMA_VERSION,
        "headline": task.headline,
        "best_epoch": math.ceil(trained.epochs_at_best),
        "best_evaluation": trained.best_evaluation,
        "evaluations_per_epoch": trained.evaluations_per_epoch,
        "steps": trained.steps,
        "classes": list(classes),
        "rows": dict(rows),
        "epochs": cast(list[Scores], trained.evaluations),
        "loss_curve": cast(LossCurve, trained.curve.points()),
        "throughput": cast(Throughput, trained.throughput),
        "operations": dict(trained.operations),
    }
    if trained.stopped_early:
        metrics["stopped_early_after"] = len(trained.evaluations)
    if trained.limit.is_reached:
        metrics["max_tokens_per_gpu"] = trained.limit.tokens
    if trained.best_evaluation:
        metrics.update(metrics["epochs"][trained.best_evaluation - 1])
    return metrics


#: The name of a part of the report, and the function that writes it, in seconds.
Stage = tuple[str, Callable[[Results], None]]


#: The name of the first part.
EPOCHS = "epochs"


def report_stages(evaluated: Evaluated) -> tuple[list[Stage], list[Stage]]:
    """The parts in order: those before a cross-validation, and those that show what it found.

    Only the first one if no rows were evaluated, because the job was stopped.
    """
    first: Stage = (EPOCHS, Results.write_metrics)
    if not evaluated.logits:
        return [first], []
    return [
        first,
        *((f"metrics of {name}", partial(Results.measure_split, name=name)) for name in evaluated.logits),
        ("baselines", Results.measure_baselines),
        ("predictions", Results.write_predictions),
    ], [("label issues", Results.write_label_issues), ("report", Results.write_report)]


def measure(evaluated: Evaluated, name: Measured, seed: int) -> SplitMetrics:
    """The metrics of a split."""
    rows, temperature = evaluated.rows[name], evaluated.temperature
    measured = evaluated.task.assess(
        evaluated.logits[name],
        rows.targets,
        evaluated.classes,
        evaluated.lengths[name],
        temperature.fitted if temperature else None,
        seed,
    )
    if name == "validation" and temperature:
        measured["calibration"] |= _judged(temperature)
    if name in evaluated.first_window_logits and (compared := long_texts.compare(evaluated, name, seed)):
        measured["long_texts"] = compared
    if rows.slice_values:
        measured["by_slice"] = _by_slice(evaluated, name, seed)
    return measured


def _judged(temperature: Temperature) -> Any:
    """The keys of schema.Calibration that say whether the temperature helps."""
    judged = {"recommended_temperature": temperature.recommended}
    return judged | ({"cross_fitted": temperature.cross_fitted} if temperature.cross_fitted else {})


def _by_slice(evaluated: Evaluated, name: Measured, seed: int) -> list[ColumnSlice]:
    task, split = evaluated.task, evaluated.rows[name]
    predicted, random = task.predict(evaluated.logits[name]), np.random.default_rng((seed, SeedStream.SLICE_INTERVALS))
    return by_slice(
        split.slices,
        split.slice_values,
        lambda rows: task.score(predicted[rows], split.targets[rows], len(evaluated.classes), random),
        task.sliced,
    )


def _at_thresholds(evaluated: Evaluated, name: Measured, thresholds: dict[str, float], seed: int) -> AtThresholds:
    task, targets = evaluated.task, evaluated.rows[name].targets
    predicted = task.with_thresholds(list(thresholds.values())).predict(evaluated.logits[name])
    random = np.random.default_rng((seed, SeedStream.SPLIT_INTERVALS))
    values, intervals = task.score(predicted, targets, len(evaluated.classes), random)
    measured = {
        "rows": len(targets),
        **values,
        "intervals": {metric: list(bounds) for metric, bounds in intervals.items()},
        "thresholds": thresholds,
    }
    return cast(AtThresholds, measured)


def _baselines(evaluated: Evaluated, seed: int) -> list[Baseline]:
    task, training, validation = evaluated.task, evaluated.rows["train"], evaluated.rows["validation"]
    fitted, judged = (rows.take(baselines.sample(len(rows), seed)) for rows in (training, validation))
    model = task.predict(evaluated.logits["validation"][baselines.sample(len(validation), seed)])
    tfidf = baselines.tfidf(task, fitted.texts, fitted.targets, judged.texts)
    predictions = {
        task.constant_baseline: (len(training), task.constant(training.targets, len(judged))),
        task.tfidf_name(fitted.targets): (len(fitted), tfidf),
    }
    return [
        baselines.compare(task, name, predicted, model, judged.targets, len(evaluated.classes), rows, seed)
        for name, (rows, predicted) in predictions.items()
        if predicted is not None
    ]


def _write_predictions(path: Path, name: Measured, evaluated: Evaluated) -> None:
    shown, classes, rows = answers(evaluated.task), evaluated.classes, evaluated.rows[name]
    cells = shown.cells(evaluated.logits[name], classes)
    with path.open("w", encoding="utf-8", errors=artifact.SURROGATES, newline="") as file:
        write_row = row_writer(file)
        write_row(shown.header(classes, has_ids=rows.ids is not None, has_labels=True))
        for index, (target, predicted) in enumerate(zip(rows.targets, cells, strict=True)):
            identity = [] if rows.ids is None else [rows.ids[index]]
            write_row([rows.places[index], *identity, shown.label(target, classes), *predicted])


def _write_events(directory: Path, metrics: Metrics) -> None:
    """Event files for TensorBoard: the metrics by epoch, and the training loss by step."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        for number, values in enumerate(metrics["epochs"], start=1):
            for name, value in values.items():
                writer.add_scalar(name, value, number)
        for step, loss in zip(*metrics["loss_curve"].values(), strict=True):
            writer.add_scalar("train_loss_by_step", loss, step)
