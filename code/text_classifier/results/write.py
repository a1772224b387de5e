"""What a job writes beside the model: metrics.json, the model card, predictions, event files and the report.

metrics.json holds, at its top level, the values of the best epoch as the log has them (`accuracy`, `f1_macro`, ...),
`epochs` with those of each epoch, `best_epoch`, `steps`, `classes`, `rows` (of each split) and `headline`, the
metric to look at first; `loss_curve`, the mean training loss of at most 400 equal stretches of steps (on rank 0), by
each one's last step; and `throughput` since the job last started: rows, seconds, rows and real tokens a second, and
`padding`, the share of the computed tokens that were none. A job that was not stopped also has

- `validation` and, with a test channel, `test`: what the task's `assess` returns: all metrics, `intervals` (95 %) and
  `by_length`; where there are classes `per_class`; of single labels also `confusion_matrix` (a row for each true
  class), `calibration` and `thresholds`. With a slice column also `by_slice` (largest first; the one whose `value` is
  null is that of `slices` others);
- `baselines`: a list of what `baselines.compare` returns, on the validation rows or a sample of them (`rows`).

A number that does not exist (ROC AUC of a class without rows) is null.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.evaluation.slices import by_slice
from text_classifier.results import artifact, baselines
from text_classifier.results.answers import answers
from text_classifier.results.evaluated import Evaluated


def write_results(
    model: Path, output: Path, evaluated: Evaluated, metrics: dict[str, Any], manifest: Mapping[str, Any]
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


def _write_metrics(model: Path, output: Path, metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    artifact.write_json(output / "metrics.json", metrics)
    artifact.write_card(model / "README.md", metrics, manifest)


def _by_slice(evaluated: Evaluated, name: str, seed: int) -> list[dict[str, Any]]:
    task, targets = evaluated.task, evaluated.splits[name].targets
    predicted, random = task.predict(evaluated.logits[name]), np.random.default_rng((seed, 4))
    return by_slice(
        *evaluated.slices[name],
        lambda rows: task.score(predicted[rows], targets[rows], len(evaluated.classes), random),
        task.sliced,
    )


def _baselines(evaluated: Evaluated, seed: int) -> list[dict[str, Any]]:
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
        writer.writerow(["row", "label", *shown.header(classes)])
        for place, target, cells in zip(places, targets, shown.cells(evaluated.logits[name], classes), strict=True):
            writer.writerow([place, shown.label(target, classes), *cells])


def _write_events(directory: Path, metrics: Mapping[str, Any]) -> None:
    """The curves for TensorBoard: those of the epochs, and the training loss by step."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        for number, values in enumerate(metrics["epochs"], start=1):
            for name, value in values.items():
                writer.add_scalar(name, value, number)
        for step, loss in zip(*metrics["loss_curve"].values(), strict=True):
            writer.add_scalar("train_loss_by_step", loss, step)
