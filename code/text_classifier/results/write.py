"""Writes what a job leaves beside the model: metrics.json, the model card, predictions, event files and the report."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from text_classifier.contract import schema
from text_classifier.contract.schema import Baseline, ColumnSlice, Manifest, Metrics
from text_classifier.evaluation.slices import by_slice
from text_classifier.results import artifact, baselines
from text_classifier.results.answers import answers
from text_classifier.results.evaluated import Evaluated


def write_results(
    model: Path, output: Path, evaluated: Evaluated, metrics: Metrics, manifest: Manifest
) -> Iterator[str]:
    """Write everything, in stages of seconds, and yield the name of each: what is written so far is whole.

    `metrics` are the values of the epochs, which the first stage writes; the later ones add to them. Of a job whose
    rows were not evaluated, because it was stopped, there is the first stage alone.
    """
    seed = manifest["hyperparameters"]["seed"]
    _write_metrics(model, output, metrics, manifest)
    yield "epochs"
    if not evaluated.logits:
        return
    for name, logits in evaluated.logits.items():
        split = evaluated.splits[name]
        metrics[name] = evaluated.task.assess(
            logits, split.targets, evaluated.classes, split.tokens.lengths, manifest["temperature"], seed
        )
        if name in evaluated.slices:
            metrics[name]["by_slice"] = _by_slice(evaluated, name, seed)
        _write_metrics(model, output, metrics, manifest)
        yield f"metrics of {name}"
    metrics["baselines"] = _baselines(evaluated, seed)
    _write_metrics(model, output, metrics, manifest)
    yield "baselines"
    for name in evaluated.logits:
        _write_predictions(output / f"predictions_{name}.csv", name, evaluated)
    _write_events(output / "tensorboard", metrics)
    yield "predictions"
    from text_classifier.results import report  # matplotlib comes with it

    report.write(output / "report.html", evaluated, metrics, manifest)
    yield "report"


def _write_metrics(model: Path, output: Path, metrics: Metrics, manifest: Manifest) -> None:
    artifact.write_json(output / schema.METRICS, metrics)
    artifact.write_card(model / "README.md", metrics, manifest)


def _by_slice(evaluated: Evaluated, name: str, seed: int) -> list[ColumnSlice]:
    task, targets = evaluated.task, evaluated.splits[name].targets
    predicted, random = task.predict(evaluated.logits[name]), np.random.default_rng((seed, 4))
    return by_slice(
        *evaluated.slices[name],
        lambda rows: task.score(predicted[rows], targets[rows], len(evaluated.classes), random),
        task.sliced,
    )


def _baselines(evaluated: Evaluated, seed: int) -> list[Baseline]:
    task = evaluated.task
    training, validation = evaluated.splits["train"].targets, evaluated.splits["validation"].targets
    fitted, judged = baselines.sample(len(training), seed), baselines.sample(len(validation), seed)
    model = task.predict(evaluated.logits["validation"][judged])
    texts = evaluated.texts("train", fitted), evaluated.texts("validation", judged)
    answers = {
        task.most_frequent: (len(training), task.constant(training, len(judged))),
        task.words: (len(fitted), baselines.words(task, texts[0], training[fitted], texts[1])),
    }
    return [
        baselines.compare(task, name, predicted, model, validation[judged], len(evaluated.classes), rows, seed)
        for name, (rows, predicted) in answers.items()
        if predicted is not None
    ]


def _write_predictions(path: Path, name: str, evaluated: Evaluated) -> None:
    """A line for each row: where it stands, its label, and the model's answer as the task writes it."""
    shown, classes, targets = answers(evaluated.task), evaluated.classes, evaluated.splits[name].targets
    places = evaluated.places(name, np.arange(len(targets)))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(shown.header(classes, has_labels=True))
        for place, target, cells in zip(places, targets, shown.cells(evaluated.logits[name], classes), strict=True):
            writer.writerow([place, shown.label(target, classes), *cells])


def _write_events(directory: Path, metrics: Metrics) -> None:
    """The curves for TensorBoard: those of the epochs, and the training loss by step."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        for number, values in enumerate(metrics["epochs"], start=1):
            for name, value in values.items():
                writer.add_scalar(name, value, number)
        for step, loss in zip(*metrics["loss_curve"].values(), strict=True):
            writer.add_scalar("train_loss_by_step", loss, step)
