"""Fine-tune a BERT-family classifier on reviews. Entry point, one call for each stage.

    python train.py --epochs 3 --learning_rate 1e-4

Input and output folders are SageMaker's (see contract.py). Heavy imports come after everything that a person may have
got wrong has been checked.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import redaction
import reviews
from contract import Contract, contract
from failures import DataError, JobError, SettingsError, describe, explain
from hosts import Hosts
from hyperparameters import Settings, from_arguments
from labels import LabelMap, label_map, require_all_classes, sample, split
from stop import Stopped, StopSignal

if TYPE_CHECKING:
    from cluster import Cluster  # it imports torch, which `main` does last


@dataclass(frozen=True)
class Data:
    """The rows of each split and their classes (int64), and the names of the classes."""

    labels: LabelMap
    splits: dict[str, tuple[reviews.Reviews, np.ndarray]]


def main(arguments: list[str]) -> int:
    """Run the job. Returns the exit code; a failure has left its reason in the failure file."""
    job = contract()
    try:
        settings = from_arguments(arguments)
        job.require_writable_outputs()
        data = read_data(job, settings)
        run(job, settings, data)
    except Stopped as end:
        print(end, flush=True)
    except JobError as error:
        print(describe(error), file=sys.stderr, flush=True)
        job.write_failure(error)
        return 1
    except Exception as error:
        traceback.print_exc()
        job.write_failure(error)
        return 1
    return 0


def read_data(job: Contract, settings: Settings) -> Data:
    """Read the channels and split off a validation set when there is none. Raises DataError or SettingsError."""
    folder = job.channel("train")
    if folder is None:
        raise SettingsError("the job has no channel 'train'; name the channel with the training files so")
    rows = reviews.read(folder, settings.text_columns, settings.label_column)
    labels = label_map(settings.label_map, rows.labels)
    if len(labels.classes) != 2 and settings.metric_for_best_model in ("roc_auc", "auprc"):
        raise SettingsError(
            f"metric_for_best_model={settings.metric_for_best_model} exists for two classes only, these are "
            f"{len(labels.classes)}; take f1_macro"
        )
    classes = labels.apply(rows)
    kept = sample(len(rows), settings.max_data_rows, settings.seed)
    rows, classes = rows.take(kept.tolist()), classes[kept]

    splits = {}
    for name in ("validation", "test"):
        folder = job.channel(name)
        if folder is not None:
            others = reviews.read(folder, settings.text_columns, settings.label_column)
            splits[name] = (others, labels.apply(others))
    if "validation" not in splits:
        train_rows, held_out = split(classes, settings.train_size, settings.seed)
        if not len(held_out):
            raise DataError("there are too few rows to hold some out; add rows or a `validation` channel")
        splits["validation"] = (rows.take(held_out.tolist()), classes[held_out])
        rows, classes = rows.take(train_rows.tolist()), classes[train_rows]
    require_all_classes(classes, labels.classes)
    return Data(labels, {"train": (rows, classes), **splits})


def run(job: Contract, settings: Settings, data: Data) -> None:
    """Train together with the other processes of the job. Raises JobError, Stopped, or what is a bug."""
    from cluster import Cluster

    cluster = Cluster(Hosts.from_resources(job.resources()), settings.collective_timeout_seconds)
    stop = StopSignal()
    try:
        work(job, settings, data, cluster, stop)
    except Exception as error:
        known = explain(error, settings.train_batch_size, settings.valid_batch_size, settings.max_sequence_length)
        known = cluster.diagnose(known, stop)
        if known is not error:
            traceback.print_exc()
        raise known from None


def work(job: Contract, settings: Settings, data: Data, cluster: Cluster, stop: StopSignal) -> None:
    """Tokenise, train, evaluate, save."""
    channel = job.channel("model")
    if channel is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    import artifact
    import model as models
    from batches import Split
    from checkpoint import Checkpoints
    from evaluation import majority_accuracy, measure, predict
    from loop import train
    from losses import LossNotFinite
    from precision import Precision
    from resume import Saver, fingerprint
    from tokens import tokenise

    torch.manual_seed(settings.seed)
    classes = data.labels.classes
    tokenizer, model = models.load(channel, settings.model_name, classes, settings.max_sequence_length)
    model.to(cluster.device)
    torch.manual_seed(settings.seed + cluster.rank)  # each rank drops out other units
    splits = {
        name: Split(tokenise(tokenizer, rows.texts, settings.max_sequence_length), indices)
        for name, (rows, indices) in data.splits.items()
    }
    precision = Precision(settings.precision, cluster.device)
    counts = ", ".join(f"{name} {len(rows)}" for name, rows in splits.items())
    classifier = models.classifier(model, tokenizer.pad_token_id or 0, precision)
    cluster.say(
        f"rows: {counts}; classes: {', '.join(classes)}; {model.config.model_type}, {classifier.name} batches, "
        f"{cluster.device.type}, {precision.name}"
    )

    cluster.join()
    stop.listen()
    checkpoints = Checkpoints(Path(settings.checkpoint_dir) if settings.checkpoint_dir else job.checkpoints)
    origin = fingerprint(settings, cluster, model, splits)
    saver = Saver(checkpoints, settings.checkpoint_seconds, cluster, origin)
    try:
        outcome = train(classifier, splits["train"], splits["validation"], settings, cluster, stop, saver)
    except LossNotFinite as error:
        places = [data.splits["train"][0].places[row] for row in error.rows]
        raise SettingsError(error.sentence(places, settings.learning_rate)) from None
    if not outcome.steps:
        raise Stopped("Stopped before the first step: there is nothing to save.")
    if outcome.best_weights:
        model.load_state_dict(outcome.best_weights)

    report = {
        "majority_accuracy": majority_accuracy(splits["train"].classes, splits["validation"].classes),
        "best_epoch": outcome.best_epoch,
        "steps": outcome.steps,
        "classes": list(classes),
        "rows": {name: len(rows) for name, rows in splits.items()},
        "epochs": outcome.epochs,
    }
    if outcome.best_epoch:
        report |= outcome.epochs[outcome.best_epoch - 1]
    if "test" in splits and not outcome.is_stopped:
        logits = predict(classifier, splits["test"], settings.valid_batch_size, cluster, stop)
        if logits is not None:
            report["test"] = measure(logits, splits["test"].classes)
    if not cluster.is_rank_zero:
        print(f"rank {cluster.rank} ended after step {outcome.steps}", flush=True)
    else:
        status = "stopped" if outcome.is_stopped else "completed"
        epoch = outcome.best_epoch
        artifact.write_model(
            job.model, model, tokenizer, artifact.manifest(status, settings, classes, outcome.steps, epoch)
        )
        artifact.write_json(job.output_data / "metrics.json", report)
        print(f"saved {job.model} ({status} after step {outcome.steps})", flush=True)
    cluster.leave()
    stop.ignore()


if __name__ == "__main__":
    redaction.install()
    sys.exit(main(sys.argv[1:]))
