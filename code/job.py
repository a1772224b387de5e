"""A job from its rows to its artifact, together with the other processes of the job."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import torch

import artifact
import datareport
import model as models
from batches import Split
from checkpoint import Checkpoints
from cluster import Cluster
from contract import Contract
from data import Data
from evaluation import majority_accuracy, measure, predict
from failures import SettingsError, explain
from hosts import Hosts
from hyperparameters import Settings
from labels import balanced_weights
from loop import train
from losses import LossNotFinite
from precision import Precision
from resume import Saver, Training, fingerprint
from stop import Stopped, StopSignal
from tokens import tokenise


def run(contract: Contract, settings: Settings, data: Data) -> None:
    """Tokenise, train, evaluate, save. Raises JobError, Stopped, or what is a bug."""
    cluster = Cluster(Hosts.from_resources(contract.resources()), settings.collective_timeout_seconds)
    stop = StopSignal()
    try:
        job = Job(contract, settings, data, cluster, stop)
        cluster.join()
        stop.listen()
        trained = job.train()
        job.save(trained, job.report(trained))
        cluster.leave()
        stop.ignore()
    except Exception as error:
        known = explain(error, settings.train_batch_size, settings.valid_batch_size, settings.max_sequence_length)
        known = cluster.diagnose(known, stop)
        if known is not error:
            traceback.print_exc()
        raise known from None


class Job:
    """The model, the tokenised rows, and the stages that lead from them to the artifact."""

    def __init__(self, contract: Contract, settings: Settings, data: Data, cluster: Cluster, stop: StopSignal) -> None:
        self.contract = contract
        self.settings = settings
        self.data = data
        self.cluster = cluster
        self.stop = stop
        self.classes = data.labels.classes
        torch.manual_seed(settings.seed)
        self.tokenizer, self.model = models.load(
            contract.channel("model"), settings.model_name, self.classes, settings.max_sequence_length
        )
        self.model.to(cluster.device)
        torch.manual_seed(settings.seed + cluster.rank)  # each rank drops out other units
        self.splits = {
            name: Split(tokenise(self.tokenizer, rows.texts, settings.max_sequence_length), indices)
            for name, (rows, indices) in data.splits.items()
        }
        self._weigh_classes()
        self._report_tokens()
        precision = Precision(settings.precision, cluster.device)
        self.classifier = models.classifier(self.model, self.tokenizer.pad_token_id or 0, precision)
        counts = ", ".join(f"{name} {len(rows)}" for name, rows in self.splits.items())
        cluster.say(
            f"rows: {counts}; classes: {', '.join(self.classes)}; {self.model.config.model_type}, "
            f"{self.classifier.name} batches, {cluster.device.type}, {precision.name}"
        )

    def _weigh_classes(self) -> None:
        if self.settings.class_weights == "balanced":
            training = self.splits["train"]
            weights = balanced_weights(training.classes, len(self.classes))
            self.splits["train"] = Split(training.tokens, training.classes, weights)

    def _report_tokens(self) -> None:
        """Add to the data report what only the tokenizer knows."""
        if self.cluster.is_rank_zero:
            length = self.settings.max_sequence_length
            tokens = {
                name: datareport.describe_tokens(split.tokens.lengths, split.tokens.truncated)
                for name, split in self.splits.items()
            }
            print(datareport.tokens_table(tokens, length), flush=True)
            datareport.write(self.contract.output_data, self.data.report | {"tokens": tokens})

    def train(self) -> Training:
        """Train, and leave the best epoch's weights in the model, or the last ones when no epoch was finished."""
        settings = self.settings
        folder = Path(settings.checkpoint_dir) if settings.checkpoint_dir else self.contract.checkpoints
        origin = fingerprint(settings, self.cluster, self.model, self.splits)
        saver = Saver(Checkpoints(folder), settings.checkpoint_seconds, self.cluster, origin)
        training, validation = self.splits["train"], self.splits["validation"]
        try:
            trained = train(self.classifier, training, validation, settings, self.cluster, self.stop, saver)
        except LossNotFinite as error:
            places = [self.data.splits["train"][0].places[row] for row in error.rows]
            raise SettingsError(error.sentence(places, settings.learning_rate)) from None
        if not trained.steps:
            raise Stopped("Stopped before the first step: there is nothing to save.")
        if trained.best_weights:
            self.model.load_state_dict(trained.best_weights)
        return trained

    def report(self, trained: Training) -> dict[str, Any]:
        """What metrics.json holds: the best epoch's values, those of all epochs, and of the test channel."""
        report: dict[str, Any] = {
            "majority_accuracy": majority_accuracy(self.splits["train"].classes, self.splits["validation"].classes),
            "best_epoch": trained.best_epoch,
            "steps": trained.steps,
            "classes": list(self.classes),
            "rows": {name: len(rows) for name, rows in self.splits.items()},
            "epochs": trained.epochs,
        }
        if trained.best_epoch:
            report |= trained.epochs[trained.best_epoch - 1]
        if "test" in self.splits and not trained.is_stopped:
            test = self.splits["test"]
            logits = predict(self.classifier, test, self.settings.valid_batch_size, self.cluster, self.stop)
            if logits is not None:
                report["test"] = measure(logits, test.classes)
        return report

    def save(self, trained: Training, report: dict[str, Any]) -> None:
        """Write the model and its metrics; rank 0 alone."""
        if not self.cluster.is_rank_zero:
            print(f"rank {self.cluster.rank} ended after step {trained.steps}", flush=True)
            return
        status = "stopped" if trained.is_stopped else "completed"
        manifest = artifact.manifest(status, self.settings, self.classes, trained.steps, trained.best_epoch)
        artifact.write_model(self.contract.model, self.model, self.tokenizer, manifest)
        artifact.write_json(self.contract.output_data / "metrics.json", report)
        print(f"saved {self.contract.model} ({status} after step {trained.steps})", flush=True)
